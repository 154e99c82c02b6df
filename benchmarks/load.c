/* The load generator: one thread, one epoll, no allocation while it measures.
 *
 * Facts.  Server and load have one core each, so whatever the load spends for a request
 * limits what can be seen of a fast server.
 * Consequence.  Sockets are opened before the clock starts, a request is one recv and one
 * send, and nothing is printed inside a measured window.
 * Trade-off.  The C server still costs about as much as this program does; the harness
 * therefore shows the server's own CPU share beside each figure.
 *
 *   load ping   PORT ACTIVE IDLE SIZE WARMUP SECONDS
 *   load lines  PORT ACTIVE LINE DEPTH WARMUP SECONDS
 *   load counted PORT ACTIVE BODY WARMUP SECONDS
 *   load fair   PORT ACTIVE LINE TOTAL WARMUP SECONDS
 *   load mail   PORT ACTIVE SIZE RECIPIENTS WARMUP SECONDS
 *   load stream PORT TOTAL CHUNK WAIT REPEAT TIMEOUT
 *   load flood  PORT ACTIVE RATE HELD SIZE WARMUP SECONDS
 *   load accept PORT PARALLEL WARMUP SECONDS
 *   load churn  PORT PARALLEL SIZE WARMUP SECONDS
 *   load hold   PORT BASE MORE SIZE
 *
 * Each line of output is one JSON object with an "event": begin, end or error. A window in which
 * nothing was counted tells nothing: it goes on until something is.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    BATCH = 256,           /* events taken from one epoll_wait */
    IN_FLIGHT = 64,        /* connections being opened at a time: stays below any backlog */
    MAX_SIZE = 65536,      /* largest ping message, bytes */
    SOURCES = 250,         /* source addresses in turn, 127.0.0.2 to 127.0.0.251: Linux has
                              28,232 ports for each, and searches longer the more are taken */
    BUCKETS = 200000,      /* latency histogram, 1 us each: up to 200 ms */
};

struct conn {
    int fd;
    int active;
    uint32_t got;
    int due;               /* replies of SMTP that are still to come */
    int64_t sent_at;
};

static int poller;
static uint16_t port;
static size_t size = 64;
static char message[MAX_SIZE];
static uint64_t opened;
static uint32_t buckets[BUCKETS];

/* A connection that asks for much, and takes it, while others talk; fd 0: there is none. */
static struct {
    struct conn conn;
    char request[32];
    long long total, left;
} bulk;

/* Connections that are opened while others talk, and never finish anything. */
static struct {
    int *fds;              /* the newest ones, in turn */
    int held, next;
    int64_t interval_ns;   /* between two, 0: none are opened */
    int64_t due;
    uint64_t made;
} flood;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void fail(const char *format, ...)
{
    va_list arguments;
    printf("{\"event\": \"error\", \"message\": \"");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\"}\n");
    fflush(stdout);
    exit(1);
}

static int open_socket(void)
{
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("socket: %s", strerror(errno));
    source.sin_addr.s_addr = htonl(0x7f000002 + opened % SOURCES);
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Let connect() choose the port, so that only the whole 4-tuple has to be unused. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&source, sizeof source))
        fail("bind: %s", strerror(errno));
    /* Blocking: on loopback the handshake is over when connect() returns. */
    if (connect(fd, (struct sockaddr *)&target, sizeof target))
        fail("connect after %llu connections: %s", (unsigned long long)opened, strerror(errno));
    opened++;
    return fd;
}

static void watch(struct conn *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

static void ask(struct conn *c)
{
    c->got = 0;
    c->sent_at = now_ns();
    if (send(c->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail("send: %s", strerror(errno));
}

/* True when the whole answer is there. */
static int answered(struct conn *c)
{
    static char buffer[MAX_SIZE];
    ssize_t n = recv(c->fd, buffer, size - c->got, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < 0)
        fail("recv: %s", strerror(errno));
    if (n == 0)
        fail("the server closed a connection (%llu were opened)", (unsigned long long)opened);
    if (memcmp(buffer, message + c->got, (size_t)n))
        fail("the server answered with other bytes than it was sent");
    c->got += (uint32_t)n;
    return c->got == size;
}

/* Open n connections; each has done one round trip when this returns. */
static void open_all(struct conn *conns, int n, int active)
{
    struct epoll_event events[BATCH];
    int started = 0, done = 0;

    while (done < n) {
        while (started < n && started - done < IN_FLIGHT) {
            struct conn *c = &conns[started++];
            c->fd = open_socket();
            c->active = active;
            watch(c);
            ask(c);
        }
        int ready = epoll_wait(poller, events, BATCH, 20000);
        if (ready == 0)
            fail("no answer for 20 s while connection %d was opened", done);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < ready; i++)
            done += answered(events[i].data.ptr);
    }
}

static double percentile(uint64_t total, double share)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)total * share);
    for (int i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > wanted)
            return i;
    }
    return BUCKETS;
}

/* Open what is due, at most a few at a time so that the answers are not kept waiting; reset the
 * oldest ones, as a peer does that gives up. */
static void flood_on(int64_t now)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (flood.due < now - 100000000)
        flood.due = now - 100000000; /* a server that keeps us from connecting is not flooded more */
    for (int i = 0; i < 8 && flood.due <= now; i++, flood.due += flood.interval_ns) {
        int *place = &flood.fds[flood.next];
        flood.next = (flood.next + 1) % flood.held;
        if (*place >= 0) {
            setsockopt(*place, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(*place);
        }
        *place = open_socket();
        flood.made++;
    }
}

static void bulk_ask(void)
{
    bulk.left = bulk.total;
    if (send(bulk.conn.fd, bulk.request, strlen(bulk.request), MSG_NOSIGNAL) < 0)
        fail("send: %s", strerror(errno));
}

/* Drop in the kernel what has come: the receiver must not be the limit. */
static void bulk_on(void)
{
    static char buffer[1 << 20];
    ssize_t n = recv(bulk.conn.fd, buffer, sizeof buffer, MSG_TRUNC | MSG_DONTWAIT);

    if (n <= 0)
        fail("the server ended the connection that takes much");
    if (!(bulk.left -= n))
        bulk_ask();
}

static void ping_phase(struct conn *conns, int active, double warmup, double seconds)
{
    struct epoll_event events[BATCH];
    int outstanding = active, measuring = 0, stopping = 0;
    uint64_t requests = 0, counted = 0, flooded = 0;
    int64_t begin = 0, end = 0, start = now_ns();

    memset(buckets, 0, sizeof buckets);
    for (int i = 0; i < active; i++)
        ask(&conns[i]);
    while (outstanding) {
        int ready = epoll_wait(poller, events, BATCH, 20000);
        if (ready == 0)
            fail("no answer for 20 s");
        for (int i = 0; i < ready; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == &bulk.conn) {
                bulk_on();
                continue;
            }
            if (!c->active)
                fail("the server touched an idle connection");
            if (!answered(c))
                continue;
            int64_t now = now_ns(), took = (now - c->sent_at) / 1000;
            requests++;
            if (measuring && !stopping)
                buckets[took < BUCKETS ? took : BUCKETS - 1]++;
            if (stopping)
                outstanding--;
            else
                ask(c);
        }
        int64_t now = now_ns();
        if (flood.interval_ns)
            flood_on(now);
        if (!measuring && now - start >= (int64_t)(warmup * 1e9)) {
            printf("{\"event\": \"begin\"}\n");
            fflush(stdout);
            measuring = 1;
            counted = requests;
            flooded = flood.made;
            begin = now_ns();
        } else if (measuring && !stopping && now - begin >= (int64_t)(seconds * 1e9)
                   && requests > counted) {
            stopping = 1;
            end = now;
            counted = requests - counted;
            flooded = flood.made - flooded;
        }
    }
    printf("{\"event\": \"end\", \"requests\": %llu, \"flood\": %llu, \"seconds\": %.6f,"
           " \"p50_us\": %.0f, \"p99_us\": %.0f, \"p999_us\": %.0f}\n",
           (unsigned long long)counted, (unsigned long long)flooded, (double)(end - begin) / 1e9,
           percentile(counted, 0.5), percentile(counted, 0.99), percentile(counted, 0.999));
    fflush(stdout);
}

/* First without the idle connections, then with them: one process, one pair of figures. */
static int ping(char **a)
{
    int active = atoi(a[0]), idle = atoi(a[1]);
    double warmup = atof(a[3]), seconds = atof(a[4]);
    struct conn *conns = calloc((size_t)(active + idle), sizeof *conns);

    size = (size_t)atoi(a[2]);
    if (!conns || active < 1 || size < 1 || size > MAX_SIZE)
        fail("ping: bad arguments");
    open_all(conns, active, 1);
    ping_phase(conns, active, warmup, seconds);
    if (idle) {
        open_all(conns + active, idle, 0);
        ping_phase(conns, active, warmup, seconds);
    }
    return 0;
}

/* The same with a message of DEPTH lines, sent at once. */
static int lines(char **a)
{
    int active = atoi(a[0]), line = atoi(a[1]), depth = atoi(a[2]);
    struct conn *conns = calloc((size_t)active, sizeof *conns);

    size = (size_t)line * (size_t)depth;
    if (!conns || active < 1 || line < 2 || depth < 1 || size > MAX_SIZE)
        fail("lines: bad arguments");
    for (size_t i = (size_t)line - 1; i < size; i += (size_t)line)
        message[i] = '\n';
    open_all(conns, active, 1);
    ping_phase(conns, active, atof(a[3]), atof(a[4]));
    return 0;
}

/* The same with a message that begins with its length, 4 bytes in network order. */
static int counted(char **a)
{
    int active = atoi(a[0]), body = atoi(a[1]);
    struct conn *conns = calloc((size_t)active, sizeof *conns);
    uint32_t head = htonl((uint32_t)body);

    size = sizeof head + (size_t)body;
    if (!conns || active < 1 || body < 1 || size > MAX_SIZE)
        fail("counted: bad arguments");
    memcpy(message, &head, sizeof head);
    open_all(conns, active, 1);
    ping_phase(conns, active, atof(a[2]), atof(a[3]));
    return 0;
}

/* Lines, first undisturbed, then beside a connection that is sent TOTAL bytes again and again. */
static int fair(char **a)
{
    int active = atoi(a[0]);
    double warmup = atof(a[3]), seconds = atof(a[4]);
    struct conn *conns = calloc((size_t)active, sizeof *conns);

    size = (size_t)atoi(a[1]);
    bulk.total = atoll(a[2]);
    if (!conns || active < 1 || size < 2 || size > MAX_SIZE || bulk.total < 1)
        fail("fair: bad arguments");
    message[size - 1] = '\n';
    snprintf(bulk.request, sizeof bulk.request, "push %lld\n", bulk.total);
    open_all(conns, active, 1);
    ping_phase(conns, active, warmup, seconds);
    bulk.conn.fd = open_socket();
    watch(&bulk.conn);
    bulk_ask();
    ping_phase(conns, active, warmup, seconds);
    return 0;
}

/* What a client of SMTP says in turn, and how many replies that brings; after the message it goes
 * on with MAIL. Recipients are all named at once with what stands around them (RFC 2920), or, where
 * there is one alone, each command waits for the reply to the one before. */
enum { STEPS = 6, AFTER_MESSAGE = 2, PIPELINED_STEPS = 4 };

struct step { const char *text; size_t size; int replies; };

static struct step dialogue[STEPS] = {
    {"", 0, 1}, {"EHLO load\r\n", 11, 1}, {"MAIL FROM:<a@example.com>\r\n", 27, 1},
    {"RCPT TO:<b@example.com>\r\n", 25, 1}, {"DATA\r\n", 6, 1}, {NULL, 0, 1},
};
static struct step pipelined[PIPELINED_STEPS] = {
    {"", 0, 1}, {"EHLO load\r\n", 11, 1}, {NULL, 0, 0}, {NULL, 0, 1},
};

static void say(struct conn *c, const struct step *step)
{
    const char *text = step->text;
    size_t left = step->size;

    c->due = step->replies;
    while (left) {
        ssize_t n = send(c->fd, text, left, MSG_NOSIGNAL);
        if (n < 0)
            fail("send: %s", strerror(errno));
        text += n;
        left -= (size_t)n;
    }
}

/* True when all replies are there; the last line of one has a space behind its number. */
static int replied(struct conn *c)
{
    char buffer[4096];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        fail("the server ended a connection");
    if (buffer[n - 1] != '\n')
        fail("the server sends half a line"); /* replies are short, and loopback splits none */
    for (char *line = buffer, *end = buffer + n, *next; line < end; line = next) {
        next = (char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if (next - line < 5 || (*line != '2' && *line != '3'))
            fail("the server refused: %.3s", line);
        c->due -= line[3] == ' ';
    }
    return c->due == 0;
}

static int mail(char **a)
{
    struct epoll_event events[BATCH];
    int active = atoi(a[0]), recipients = atoi(a[2]), measuring = 0;
    int count = recipients > 1 ? PIPELINED_STEPS : STEPS;
    struct step *steps = recipients > 1 ? pipelined : dialogue;
    size_t length = (size_t)atol(a[1]);
    struct conn *conns = calloc((size_t)active, sizeof *conns);
    char *body = malloc(length + 64), *envelope = malloc((size_t)recipients * 32 + 64);
    uint64_t mails = 0;
    int64_t begin = 0, start = now_ns();

    if (!conns || !body || !envelope || active < 1 || recipients < 1)
        fail("mail: bad arguments");
    int end = sprintf(envelope, "MAIL FROM:<a@example.com>\r\n");
    for (int i = 0; i < recipients; i++)
        end += sprintf(envelope + end, "RCPT TO:<b%d@example.com>\r\n", i);
    end += sprintf(envelope + end, "DATA\r\n");
    pipelined[AFTER_MESSAGE] = (struct step){envelope, (size_t)end, recipients + 2};
    size_t at = (size_t)sprintf(body, "Subject: load\r\n\r\n");
    for (size_t column = 0; at < length; at++, column++) {
        if (column == 70) {
            body[at++] = '\r';
            body[at] = '\n';
            column = (size_t)-1;
        } else
            body[at] = 'x';
    }
    at += (size_t)sprintf(body + at, "\r\n.\r\n");
    steps[count - 1].text = body;
    steps[count - 1].size = at;
    for (int i = 0; i < active; i++) {
        conns[i].fd = open_socket();
        conns[i].due = 1;
        watch(&conns[i]);
    }
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, 20000);
        if (ready == 0)
            fail("no reply for 20 s");
        for (int i = 0; i < ready; i++) {
            struct conn *c = events[i].data.ptr;
            if (!replied(c))
                continue;
            if (++c->got == (uint32_t)count) {
                c->got = AFTER_MESSAGE;
                mails++;
            }
            say(c, &steps[c->got]);
        }
        int64_t now = now_ns();
        if (!measuring && now - start >= (int64_t)(atof(a[3]) * 1e9)) {
            printf("{\"event\": \"begin\"}\n");
            fflush(stdout);
            measuring = 1;
            mails = 0;
            begin = now_ns();
        } else if (measuring && now - begin >= (int64_t)(atof(a[4]) * 1e9) && mails) {
            printf("{\"event\": \"end\", \"mails\": %llu, \"seconds\": %.6f}\n",
                   (unsigned long long)mails, (double)(now - begin) / 1e9);
            fflush(stdout);
            return 0;
        }
    }
}

/* First undisturbed, then beside RATE new connections a second that say nothing; the HELD newest
 * stay open. */
static int flooded_ping(char **a)
{
    int active = atoi(a[0]), rate = atoi(a[1]);
    double warmup = atof(a[4]), seconds = atof(a[5]);
    struct conn *conns = calloc((size_t)active, sizeof *conns);

    flood.held = atoi(a[2]);
    size = (size_t)atoi(a[3]);
    if (!conns || active < 1 || rate < 1 || flood.held < 1 || size < 1 || size > MAX_SIZE)
        fail("flood: bad arguments");
    if (!(flood.fds = malloc((size_t)flood.held * sizeof *flood.fds)))
        fail("flood: no memory");
    for (int i = 0; i < flood.held; i++)
        flood.fds[i] = -1;
    open_all(conns, active, 1);
    ping_phase(conns, active, warmup, seconds);
    flood.interval_ns = 1000000000 / rate;
    flood.due = now_ns();
    ping_phase(conns, active, warmup, seconds);
    return 0;
}

/* Receive on fd until `due` bytes have come; `flags` may drop or peek at them. */
static void receive(int fd, long long due, int flags, int64_t begin, double timeout)
{
    static char buffer[1 << 20];
    long long got = 0;

    while (got < due) {
        ssize_t n = recv(fd, buffer, sizeof buffer, flags);
        if (n == 0)
            fail("the server closed after %lld of %lld bytes", got, due);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            fail("recv: %s", strerror(errno));
        if (n > 0)
            got += n;
        if (got < due && (double)(now_ns() - begin) / 1e9 > timeout)
            fail("%lld of %lld bytes in %.0f s", got, due, timeout);
    }
}

/* With WAIT, nothing is read before the server has written everything into its own buffers:
 * once it is in the middle of that, a second connection asks for one byte, and a server of one
 * thread can only answer that afterwards. */
static int stream(char **a)
{
    long long total = atoll(a[0]), chunk = atoll(a[1]);
    int wait = atoi(a[2]), repeat = atoi(a[3]), fd = open_socket(), second = open_socket();
    double timeout = atof(a[4]);
    struct timeval pause = {.tv_sec = 1};
    char request[64];
    int length = snprintf(request, sizeof request, "%lld %lld\n", total, chunk);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof pause);
    setsockopt(second, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof pause);
    for (int i = 0; i < repeat; i++) {
        int64_t begin = now_ns();
        if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length)
            fail("send: %s", strerror(errno));
        if (wait) {
            receive(fd, 1, MSG_PEEK, begin, timeout);
            if (send(second, "1 1\n", 4, MSG_NOSIGNAL) != 4)
                fail("send: %s", strerror(errno));
            receive(second, 1, 0, begin, timeout);
        }
        /* MSG_TRUNC drops the bytes in the kernel: the receiver must not be the limit. */
        receive(fd, total, MSG_TRUNC, begin, timeout);
        printf("{\"event\": \"end\", \"seconds\": %.6f}\n", (double)(now_ns() - begin) / 1e9);
        fflush(stdout);
    }
    return 0;
}

static void start_visit(struct conn *c, int asks)
{
    c->fd = open_socket();
    watch(c);
    if (asks)
        ask(c);
    else
        shutdown(c->fd, SHUT_WR);
}

/* True when a visit that asks has its answer, or the server has closed one that does not. */
static int visited(struct conn *c, uint32_t events, int asks)
{
    char byte;

    if (asks)
        return answered(c);
    if (!(events & EPOLLHUP) && recv(c->fd, &byte, 1, MSG_DONTWAIT) != 0)
        fail("accept: the server sent something or broke off");
    return 1;
}

/* Connect, be served once, close: over and over. */
static int visits_of(int parallel, int asks, double warmup, double seconds)
{
    int measuring = 0;
    struct conn *conns = calloc((size_t)parallel, sizeof *conns);
    struct epoll_event events[BATCH];
    uint64_t visits = 0;
    int64_t begin = 0, start = now_ns();

    if (!conns)
        fail("bad arguments");
    for (int i = 0; i < parallel; i++)
        start_visit(&conns[i], asks);
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, 20000);
        if (ready == 0)
            fail("no connection was served for 20 s");
        for (int i = 0; i < ready; i++) {
            struct conn *c = events[i].data.ptr;
            if (!visited(c, events[i].events, asks))
                continue;
            close(c->fd);
            visits++;
            start_visit(c, asks);
        }
        int64_t now = now_ns();
        if (!measuring && now - start >= (int64_t)(warmup * 1e9)) {
            printf("{\"event\": \"begin\"}\n");
            fflush(stdout);
            measuring = 1;
            visits = 0;
            begin = now_ns();
        } else if (measuring && now - begin >= (int64_t)(seconds * 1e9) && visits) {
            printf("{\"event\": \"end\", \"connections\": %llu, \"seconds\": %.6f}\n",
                   (unsigned long long)visits, (double)(now - begin) / 1e9);
            fflush(stdout);
            return 0;
        }
    }
}

/* Say that nothing will come, and wait for the server to close. */
static int accept_load(char **a)
{
    return visits_of(atoi(a[0]), 0, atof(a[1]), atof(a[2]));
}

/* Do one round trip. */
static int churn(char **a)
{
    size = (size_t)atoi(a[1]);
    if (size < 1 || size > MAX_SIZE)
        fail("churn: bad arguments");
    return visits_of(atoi(a[0]), 1, atof(a[2]), atof(a[3]));
}

/* Open BASE connections, wait for a line, open MORE, wait for a line. */
static int hold(char **a)
{
    int base = atoi(a[0]), more = atoi(a[1]);
    struct conn *conns = calloc((size_t)(base + more), sizeof *conns);
    char line[16];

    size = (size_t)atoi(a[2]);
    if (!conns || size < 1 || size > MAX_SIZE)
        fail("hold: bad arguments");
    open_all(conns, base, 0);
    printf("{\"event\": \"begin\"}\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    open_all(conns + base, more, 0);
    printf("{\"event\": \"end\", \"connections\": %d}\n", more);
    fflush(stdout);
    return fgets(line, sizeof line, stdin) ? 0 : 1;
}

int main(int count, char **a)
{
    static const struct { const char *name; int count; int (*run)(char **); } modes[] = {
        {"ping", 5, ping}, {"stream", 5, stream}, {"accept", 3, accept_load}, {"hold", 3, hold},
        {"churn", 4, churn}, {"flood", 6, flooded_ping}, {"lines", 5, lines}, {"mail", 5, mail},
        {"counted", 4, counted}, {"fair", 5, fair},
    };
    struct rlimit limit;

    prctl(PR_SET_PDEATHSIG, SIGKILL);  /* never outlive the harness */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)('a' + i % 26);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; count > 2 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(a[1], modes[i].name) && count == modes[i].count + 3) {
            port = (uint16_t)atoi(a[2]);
            return modes[i].run(a + 3);
        }
    fprintf(stderr, "usage: load ping|lines|counted|fair|mail|flood|stream|accept|churn|hold PORT ... (see load.c)\n");
    return 2;
}
