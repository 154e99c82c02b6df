/* The limit: what an epoll server costs when nothing but system calls is left.
 *
 *   echo_server PORT echo|stream
 *
 * echo sends back what comes; stream answers "TOTAL CHUNK\n" with TOTAL bytes, handed to
 * the kernel at most CHUNK at a time.  The first line of output is JSON with the port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 256, MAX_FD = 65536, BACKLOG = 1024, BUFFER = 1 << 20 };

static long long pending[MAX_FD], piece[MAX_FD];
static char buffer[BUFFER];
static int poller, streaming;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void interest(int fd, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event))
        die("epoll_ctl");
}

/* Send what is due until the kernel is full; false when the peer is gone. */
static int flow(int fd)
{
    while (pending[fd] > 0) {
        long long n = pending[fd] < piece[fd] ? pending[fd] : piece[fd];
        ssize_t sent = send(fd, buffer, (size_t)(n < BUFFER ? n : BUFFER), MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            interest(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return 1;
        }
        if (sent < 0)
            return 0;
        pending[fd] -= sent;
    }
    interest(fd, EPOLL_CTL_MOD, EPOLLIN);
    return 1;
}

static int serve(int fd, unsigned events)
{
    if (streaming && (events & EPOLLOUT) && !(events & EPOLLIN))
        return flow(fd);
    ssize_t n = recv(fd, buffer, 65536, 0);
    if (n < 0 && errno == EAGAIN)
        return 1;
    if (n <= 0)
        return 0;
    if (streaming) {
        buffer[n] = 0;
        return sscanf(buffer, "%lld %lld", &pending[fd], &piece[fd]) == 2 && flow(fd);
    }
    /* A ping is far smaller than a socket buffer: a short send means a broken peer. */
    return send(fd, buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    struct epoll_event events[BATCH];
    struct rlimit limit;
    int on = 1, listener;

    if (count != 3) {
        fprintf(stderr, "usage: echo_server PORT echo|stream\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);  /* never outlive the harness */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max < MAX_FD ? limit.rlim_max : MAX_FD;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    streaming = !strcmp(arguments[2], "stream");
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, BACKLOG))
        die("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    interest(listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!serve(fd, events[i].events))
                    close(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                pending[fd] = 0;
                interest(fd, EPOLL_CTL_ADD, EPOLLIN);
            }
        }
    }
}
