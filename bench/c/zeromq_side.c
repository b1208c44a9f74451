/* One side of a ping-pong over libzmq: `zeromq_side serve|ask ENDPOINT SIZE COUNT SPIN`.
   `ask` prints p50 and p99 of the whole round trip in microseconds. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void check(int rc, const char *what) {
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(errno));
        exit(1);
    }
}

static void receive(void *socket, char *buffer, size_t size, int spin) {
    int rc;
    do {
        rc = zmq_recv(socket, buffer, size, spin ? ZMQ_DONTWAIT : 0);
    } while (rc < 0 && errno == EAGAIN && spin);
    check(rc, "receive");
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int ask = strcmp(argv[1], "ask") == 0, spin = atoi(argv[5]), patience_ms = 20000;
    size_t size = strtoul(argv[3], NULL, 10), count = strtoul(argv[4], NULL, 10);
    size_t warmup = count / 10, done = 0;
    char *buffer = calloc(1, size);
    double *times = calloc(count, sizeof *times);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_PAIR);
    if (!buffer || !times || !socket) return 1;
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
    check(ask ? zmq_connect(socket, argv[2]) : zmq_bind(socket, argv[2]), argv[2]);
    for (size_t at = 0; at < warmup + count; at++) {
        double began = now_us();
        if (ask) check(zmq_send(socket, buffer, size, 0), "send");
        receive(socket, buffer, size, spin);
        if (!ask) check(zmq_send(socket, buffer, size, 0), "send");
        if (at >= warmup) times[done++] = now_us() - began;
    }
    qsort(times, count, sizeof *times, by_size);
    if (ask) printf("%.3f %.3f\n", times[count / 2], times[count * 99 / 100]);
    zmq_close(socket);
    zmq_ctx_destroy(context);
    return 0;
}
