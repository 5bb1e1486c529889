/* For LD_PRELOAD: sockets listen with a backlog of 1,024, whatever the program asks for.
 *
 * OpenSMTPD asks for 5. Of a hundred clients that connect at once most would wait until TCP tries again, for seconds,
 * and nothing else would be measured.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

int listen(int socket, int backlog)
{
    (void)backlog;
    return (int)syscall(SYS_listen, socket, 1024);
}
