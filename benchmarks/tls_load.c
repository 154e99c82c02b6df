/* The load generator for TLS: one thread, one epoll, OpenSSL on non-blocking sockets.
 *
 * Facts.  A client does about the same cryptography as its server, and has a core of its own.
 * OpenSSL's library is on nearly every machine, its headers on few.
 * Consequence.  The load can be the slower side; each figure is to be read for each second of
 * processor time that the server used for it. The library is opened at run time, and what is used
 * of it is declared here, as its manual pages do (SSL_new(3) and so on).
 * Trade-off.  The numbers of a few macros are repeated here; they are part of OpenSSL's ABI.
 *
 *   tls_load ping  PORT ACTIVE SIZE WARMUP SECONDS
 *   tls_load shake PORT PARALLEL RESUME WARMUP SECONDS
 *   tls_load bulk  PORT TOTAL CHUNK REPEAT
 *   tls_load hold  PORT BASE MORE SIZE
 *
 * Each line of output is one JSON object with an "event": begin, end or error. The certificate is
 * not verified: the server makes a new one each time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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

/* OpenSSL, of which only pointers are known here. */
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_method_st SSL_METHOD;
typedef int (*keep_session)(SSL *, SSL_SESSION *);

#define FUNCTIONS(X) \
    X(const SSL_METHOD *, TLS_client_method, (void)) \
    X(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *)) \
    X(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *)) \
    X(void, SSL_CTX_sess_set_new_cb, (SSL_CTX *, keep_session)) \
    X(SSL *, SSL_new, (SSL_CTX *)) \
    X(void, SSL_free, (SSL *)) \
    X(int, SSL_set_fd, (SSL *, int)) \
    X(void, SSL_set_connect_state, (SSL *)) \
    X(int, SSL_set_session, (SSL *, SSL_SESSION *)) \
    X(void, SSL_SESSION_free, (SSL_SESSION *)) \
    X(int, SSL_session_reused, (const SSL *)) \
    X(int, SSL_do_handshake, (SSL *)) \
    X(int, SSL_read, (SSL *, void *, int)) \
    X(int, SSL_write, (SSL *, const void *, int)) \
    X(int, SSL_shutdown, (SSL *)) \
    X(int, SSL_get_error, (const SSL *, int)) \
    X(unsigned long, ERR_peek_error, (void)) \
    X(void, ERR_clear_error, (void)) \
    X(const char *, ERR_reason_error_string, (unsigned long))

#define DECLARE(type, name, arguments) static type (*name) arguments;
FUNCTIONS(DECLARE)

enum { /* values of openssl/ssl.h */
    SSL_ERROR_WANT_READ = 2,
    SSL_CTRL_MODE = 33,
    SSL_CTRL_SET_SESS_CACHE_MODE = 44,
    SSL_MODE_RELEASE_BUFFERS = 0x10,
    SSL_SESS_CACHE_CLIENT = 0x1,
    SSL_SESS_CACHE_NO_INTERNAL = 0x300,
};

enum {
    BATCH = 256,      /* events taken from one epoll_wait */
    IN_FLIGHT = 64,   /* connections being opened at a time: stays below any backlog */
    MAX_SIZE = 65536, /* largest ping message, bytes */
    SOURCES = 250,    /* source addresses in turn, as in load.c */
    PATIENCE = 20000, /* ms without an event */
};

struct conn {
    int fd;
    int shaken; /* the handshake is over */
    int used;   /* a connection has been here and gone */
    SSL *ssl;
    uint32_t got;
};

static int poller;
static uint16_t port;
static size_t size = 64;
static char message[MAX_SIZE];
static uint64_t opened;
static SSL_CTX *context;
static SSL_SESSION *session; /* to be resumed: of the newest connection that was asked to keep it */
static int resume;

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

static void fail_tls(const char *what, SSL *ssl, int result)
{
    unsigned long code = ERR_peek_error();
    fail("%s: SSL error %d, %s, %s", what, SSL_get_error(ssl, result),
         code ? ERR_reason_error_string(code) : "no reason", strerror(errno));
}

/* Open the library and look all names up: those of libcrypto come with it. */
static void load_openssl(void)
{
    void *library = dlopen("libssl.so.3", RTLD_NOW);
    if (!library)
        library = dlopen("libssl.so.1.1", RTLD_NOW);
    if (!library)
        fail("OpenSSL's library is not on this machine: neither libssl.so.3 nor libssl.so.1.1");
#define LOOK_UP(type, name, arguments) \
    if (!(*(void **)&name = dlsym(library, #name))) \
        fail("OpenSSL's library has no " #name);
    FUNCTIONS(LOOK_UP)
}

static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

/* Connect, and let OpenSSL have the socket. */
static void start(struct conn *c)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    if (fd < 0)
        fail("socket: %s", strerror(errno));
    source.sin_addr.s_addr = htonl(0x7f000002 + opened % SOURCES);
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&source, sizeof source))
        fail("bind: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&target, sizeof target))
        fail("connect: %s", strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    opened++;
    c->fd = fd;
    c->shaken = 0;
    c->got = 0;
    c->ssl = SSL_new(context);
    if (!c->ssl || !SSL_set_fd(c->ssl, fd))
        fail("no SSL connection");
    if (resume && session)
        SSL_set_session(c->ssl, session);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
    SSL_set_connect_state(c->ssl);
}

static void ask(struct conn *c)
{
    int n;
    c->got = 0;
    ERR_clear_error();
    n = SSL_write(c->ssl, message, (int)size);
    if (n != (int)size)
        fail_tls("SSL_write", c->ssl, n);
}

/* Go on with a connection; true when a whole answer is there. */
static int answered(struct conn *c)
{
    static char buffer[MAX_SIZE];
    int n, why;

    ERR_clear_error();
    if (!c->shaken) {
        n = SSL_do_handshake(c->ssl);
        if (n != 1) {
            why = SSL_get_error(c->ssl, n);
            if (why != SSL_ERROR_WANT_READ)
                fail_tls("handshake", c->ssl, n);
            return 0;
        }
        c->shaken = 1;
        ask(c);
    }
    while (c->got < size) {
        ERR_clear_error();
        n = SSL_read(c->ssl, buffer, (int)(size - c->got));
        if (n <= 0) {
            if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
                fail_tls("SSL_read", c->ssl, n);
            return 0;
        }
        if (memcmp(buffer, message + c->got, (size_t)n))
            fail("the server answered with other bytes than it was sent");
        c->got += (uint32_t)n;
    }
    return 1;
}

static int wait_for(struct epoll_event *events)
{
    int ready = epoll_wait(poller, events, BATCH, PATIENCE);
    if (ready == 0)
        fail("no answer for %d s", PATIENCE / 1000);
    return ready;
}

/* Open n connections; each has done its handshake and one round trip when this returns. */
static void open_all(struct conn *conns, int n)
{
    struct epoll_event events[BATCH];
    int started = 0, done = 0;

    while (done < n) {
        while (started < n && started - done < IN_FLIGHT) {
            start(&conns[started]);
            done += answered(&conns[started++]);
        }
        int ready = wait_for(events);
        for (int i = 0; i < ready; i++)
            done += answered(events[i].data.ptr);
    }
}

static int new_session(SSL *ssl, SSL_SESSION *made)
{
    (void)ssl;
    if (session)
        SSL_SESSION_free(session);
    session = made;
    return 1; /* ours now */
}

static void leave(struct conn *c)
{
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
}

/* Round trips, of one message each or, with `again`, of a whole connection each. A window in which
 * none ends tells nothing: it goes on until one does. */
static void measure(struct conn *conns, int active, int again, double warmup, double seconds)
{
    struct epoll_event events[BATCH];
    int measuring = 0, unused = active;
    uint64_t count = 0, counted = 0, resumed = 0, before = 0;
    int64_t begin = 0, from = now_ns();

    for (int i = 0; i < active; i++) {
        if (again) {
            start(&conns[i]);
            while (answered(&conns[i])) {
                unused -= !conns[i].used;
                conns[i].used = 1;
                leave(&conns[i]);
                start(&conns[i]);
            }
        } else
            ask(&conns[i]);
    }
    for (;;) {
        int ready = wait_for(events);
        for (int i = 0; i < ready; i++) {
            struct conn *c = events[i].data.ptr;
            if (!answered(c))
                continue;
            if (again) {
                do { /* on a busy machine all may be there before the first wait */
                    count++;
                    resumed += (uint64_t)SSL_session_reused(c->ssl);
                    unused -= !c->used;
                    c->used = 1;
                    leave(c);
                    start(c);
                } while (answered(c));
            } else {
                count++;
                ask(c);
            }
        }
        int64_t now = now_ns();
        /* The first connections have no session to resume: they are no part of the figure. */
        if (!measuring && now - from >= (int64_t)(warmup * 1e9)
            && (!again || !unused)) {
            say("{\"event\": \"begin\"}");
            measuring = 1;
            counted = count;
            before = resumed;
            begin = now;
        } else if (measuring && now - begin >= (int64_t)(seconds * 1e9) && count > counted) {
            printf("{\"event\": \"end\", \"requests\": %llu, \"resumed\": %llu,"
                   " \"seconds\": %.6f}\n",
                   (unsigned long long)(count - counted), (unsigned long long)(resumed - before),
                   (double)(now - begin) / 1e9);
            fflush(stdout);
            return;
        }
    }
}

static struct conn *make(int n)
{
    struct conn *conns = calloc((size_t)n, sizeof *conns);
    if (!conns || n < 1)
        fail("bad number of connections");
    return conns;
}

static void ping(char **a)
{
    int active = atoi(a[0]);
    struct conn *conns = make(active);

    size = (size_t)atoi(a[1]);
    if (size < 1 || size > MAX_SIZE)
        fail("ping: bad size");
    message[size - 1] = '\n'; /* who echoes lines has one then */
    open_all(conns, active);
    measure(conns, active, 0, atof(a[2]), atof(a[3]));
}

static void shake(char **a)
{
    int parallel = atoi(a[0]);

    resume = atoi(a[1]);
    if (resume) {
        SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE,
                     SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL, NULL);
        SSL_CTX_sess_set_new_cb(context, new_session);
    }
    measure(make(parallel), parallel, 1, atof(a[2]), atof(a[3]));
}

static void bulk(char **a)
{
    static char buffer[MAX_SIZE];
    long long total = atoll(a[0]), got;
    int repeat = atoi(a[2]), n;
    struct conn *c = make(1);
    char request[64];
    int length = snprintf(request, sizeof request, "%lld %lld\n", total, atoll(a[1]));

    start(c);
    fcntl(c->fd, F_SETFL, 0); /* blocking */
    n = SSL_do_handshake(c->ssl);
    if (n != 1)
        fail_tls("handshake", c->ssl, n);
    while (repeat--) {
        say("{\"event\": \"begin\"}");
        int64_t begin = now_ns();
        SSL_write(c->ssl, request, length);
        for (got = 0; got < total; got += n) {
            n = SSL_read(c->ssl, buffer, sizeof buffer);
            if (n <= 0)
                fail_tls("SSL_read", c->ssl, n);
        }
        printf("{\"event\": \"end\", \"seconds\": %.6f}\n", (double)(now_ns() - begin) / 1e9);
        fflush(stdout);
    }
}

static void hold(char **a)
{
    int base = atoi(a[0]), more = atoi(a[1]);
    struct conn *conns = make(base + more);

    size = (size_t)atoi(a[2]);
    open_all(conns, base);
    say("{\"event\": \"begin\"}");
    getchar();
    open_all(conns + base, more);
    say("{\"event\": \"end\"}");
    getchar();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **);
    } modes[] = {{"ping", 4, ping}, {"shake", 4, shake}, {"bulk", 3, bulk}, {"hold", 3, hold}};
    struct rlimit limit;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)('a' + i % 26);
    poller = epoll_create1(EPOLL_CLOEXEC);
    load_openssl();
    context = SSL_CTX_new(TLS_client_method());
    if (poller < 0 || !context)
        fail("no epoll, or no SSL context");
    SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
    for (size_t i = 0; argc > 2 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i].name) && argc == 3 + modes[i].arguments) {
            port = (uint16_t)atoi(argv[2]);
            modes[i].run(argv + 3);
            return 0;
        }
    fail("usage: see the top of tls_load.c");
}
