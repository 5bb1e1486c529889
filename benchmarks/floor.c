/* Lower bound of a fleet scrape: sends and receives the same datagrams, and does nothing else.
 *
 *     floor ADDRESS PORT TARGETS REQUESTS WINDOW RATE
 *
 * Sends REQUESTS datagrams, four to each of TARGETS consecutive addresses in turn, from one unconnected socket, one
 * system call per datagram, 128 between two receive calls, as protocol/multiplexer.py does. At most WINDOW are
 * unanswered simultaneously. RATE, if not 0, is the number sent per second; it sleeps in between, and leaves the CPU
 * to others. Prints what was sent and received, the seconds from the first datagram to the last, and this process's
 * CPU seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 128, LENGTH = 14, GIVE_UP_MS = 100 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static int open_socket(void)
{
    int opened = socket(AF_INET, SOCK_DGRAM, 0), buffer = 1 << 22;
    setsockopt(opened, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    return opened;
}

static long drain(int opened)
{
    unsigned char datagram[64];
    struct sockaddr_in from;
    long count = 0;
    for (;; count++) {
        socklen_t length = sizeof from;
        if (recvfrom(opened, datagram, sizeof datagram, MSG_DONTWAIT, (struct sockaddr *)&from, &length) < 0)
            return count;
    }
}

int main(int count, char **arguments)
{
    if (count != 7)
        return fprintf(stderr, "usage: floor ADDRESS PORT TARGETS REQUESTS WINDOW RATE\n"), 2;
    in_addr_t first = ntohl(inet_addr(arguments[1]));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[2]))};
    long targets = atol(arguments[3]), requests = atol(arguments[4]), window = atol(arguments[5]);
    double rate = atof(arguments[6]);
    unsigned char datagram[LENGTH] = "\xCF\xFE\0\0\0secretpa";
    int opened = open_socket();
    struct timespec pause = {.tv_nsec = 100000};
    struct pollfd readable = {.fd = opened, .events = POLLIN};
    long sent = 0, received = 0, lost = 0;
    double began = now();
    for (;;) {
        long allowed = rate > 0 ? (long)((now() - began) * rate) : requests;
        int batch = 0;
        while (batch < BATCH && sent < requests && sent < allowed && sent - received - lost < window) {
            to.sin_addr.s_addr = htonl(first + sent / 4 % targets);
            datagram[3] = sent >> 8;
            datagram[4] = sent;
            datagram[13] = sent % 4;
            batch += sendto(opened, datagram, LENGTH, 0, (struct sockaddr *)&to, sizeof to) == LENGTH;
            sent++;
        }
        received += drain(opened);
        if (rate > 0 && batch == 0 && sent < requests)
            nanosleep(&pause, NULL); /* ahead of time: leave the core to those that are measured */
        if (sent == requests && received + lost >= sent)
            break;
        if (batch == 0 && (sent == requests || sent - received - lost >= window)
            && poll(&readable, 1, GIVE_UP_MS) == 0)
            lost = sent - received; /* nothing for so long: it does not come any more */
    }
    double seconds = now() - began - (lost ? GIVE_UP_MS / 1e3 : 0);
    printf("{\"sent\": %ld, \"received\": %ld, \"seconds\": %f, \"cpu\": %f}\n", sent, received, seconds, cpu());
    return 0;
}
