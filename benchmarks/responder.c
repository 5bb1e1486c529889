/* Fleet in one socket: answers SMTPStatus on every address of 127.0.0.0/8, at the least cost.
 *
 *     responder PORT SILENT LOST
 *
 * SILENT: 0, all answer; 1, none does; 2, every other address is silent. LOST: how many of 1,000 requests are lost, at random. The values follow from the address, so that
 * every sample can be checked: its number as the historic connections, its last byte as the concurrent ones, 1,000
 * times its number as the bytes, and the transforms on where the number is even. What looks like a DNS query gets an
 * empty answer, so that blackbox_exporter's DNS prober has the same peer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LENGTH = 14, DNS_HEADER = 12 };

static uint64_t value(int command, uint32_t address)
{
    switch (command) {
    case 0: return address;
    case 1: return address & 255;
    case 2: return (uint64_t)address * 1000;
    default: return address & 1;
    }
}

/* Turns a request into its answer in place; returns its length, 0 for silence. */
static size_t answer(unsigned char *datagram, size_t length, uint32_t address)
{
    if (length == LENGTH && memcmp(datagram, "\xCF\xFE\0", 3) == 0) {
        uint64_t result = value(datagram[13], address);
        datagram[5] = 0;
        for (int i = 0; i < 8; i++)
            datagram[13 - i] = result >> 8 * i;
        return LENGTH;
    }
    if (length >= DNS_HEADER && !(datagram[2] & 0x80)) {
        datagram[2] |= 0x80; /* QR: a response */
        return length;
    }
    return 0;
}

/* The address that a datagram was sent to, and room to say that the answer comes from there. */
static uint32_t destination(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(c);
            info->ipi_spec_dst = info->ipi_addr;
            info->ipi_ifindex = 0;
            return ntohl(info->ipi_addr.s_addr);
        }
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 4)
        return fprintf(stderr, "usage: responder PORT SILENT LOST\n"), 2;
    int silent = atoi(arguments[2]), lost = atoi(arguments[3]), opened = socket(AF_INET, SOCK_DGRAM, 0), buffer = 1 << 22, on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))}, from;
    socklen_t length = sizeof here;
    setsockopt(opened, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(opened, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    if (bind(opened, (struct sockaddr *)&here, sizeof here) < 0)
        return perror("bind"), 1;
    getsockname(opened, (struct sockaddr *)&here, &length);
    printf("port %d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        unsigned char datagram[512], control[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct iovec part = {datagram, sizeof datagram};
        struct msghdr message = {&from, sizeof from, &part, 1, control, sizeof control, 0};
        ssize_t got = recvmsg(opened, &message, 0);
        if (got < 0)
            continue; /* an ICMP error for an earlier answer */
        uint32_t address = destination(&message);
        if ((silent && address % silent == 0) || rand() % 1000 < lost)
            continue;
        if ((part.iov_len = answer(datagram, got, address)))
            sendmsg(opened, &message, 0);
    }
}
