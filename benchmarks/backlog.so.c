/* For LD_PRELOAD: sockets listen with a backlog of 1,024, whatever the program asks for.
 *
 * OpenSMTPD asks for 5. Most of a hundred simultaneous clients would wait for seconds until TCP retransmits
 * the SYN, and only that would be measured.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

int listen(int socket, int backlog)
{
    (void)backlog;
    return (int)syscall(SYS_listen, socket, 1024);
}
