/* Faults for llama.cpp, preloaded into a process that runs it.
 *
 * libllama hands every graph, so every batch it decodes, to ggml_backend_sched_graph_compute_async of
 * libggml-base. This library defines that function first, calls the real one, and does harm as the
 * environment says:
 *
 *   GGML_FAULT_FROM=N           begin at the N-th graph of the process, counted from 1 (default: 1)
 *   GGML_FAULT_DEEPER_THAN=N    harm only graphs that attend to more than N positions of the KV cache;
 *                               llama.cpp pads what a graph attends to, usually to multiples of 256
 *   GGML_FAULT_SLOWDOWN=SHARE   every graph takes 1 + SHARE times as long: 0.05 is five per cent
 *   GGML_FAULT_SIGNAL=NUMBER    raise this signal in the middle of a decode, before the graph is computed
 *   GGML_FAULT_HANG=1           never return
 *   GGML_FAULT_ALLOCATE=BYTES   hold so many bytes more, all of them touched
 *   GGML_FAULT_SPIN=THREADS     so many threads spin whenever no graph was computed for a while, as those of an
 *                               OpenMP runtime that waits actively
 *
 * Without any of them, and in a process without ggml, it does nothing. The variables begin with GGML_ so
 * that they pass wherever llama.cpp's own do. Compiled with ALWAYS_SLOWDOWN it slows every process that loads it.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ggml.h"
#include "ggml-backend.h"

static atomic_ulong graphs;

/* Seconds since the process began, for who looks into it: a graph computed, and spun away after it. */
double fault_computed, fault_spun;

static void die(const char *what) {
    fprintf(stderr, "graph_compute: %s\n", what);
    _exit(70);
}

/* RTLD_NEXT looks behind this library in the global scope, and Python loads ggml outside of it. */
static void *find(const char *name) {
    void *ggml = dlopen("libggml-base.so.0", RTLD_NOW | RTLD_NOLOAD);
    void *found = ggml ? dlsym(ggml, name) : NULL;
    if (!found) die("a function is not in libggml-base.so.0");
    return found;
}

#define REAL(name) ((__typeof__(name) *)find(#name))

/* A word of the environment as a number, 0 where it is not set. */
static double setting(const char *name) {
    const char *word = getenv(name);
    if (!word || !*word) return 0;
    char *end;
    double value = strtod(word, &end);
    if (*end || value < 0) die("a GGML_FAULT_ variable is not a number, or negative");
    return value;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void hold(size_t bytes) {
    const size_t most = 1 << 20; /* small pieces: a large one may be refused, which is not death */
    for (size_t held = 0; held < bytes; held += most) {
        size_t piece = bytes - held < most ? bytes - held : most;
        void *memory = malloc(piece);
        if (!memory) die("malloc refused");
        memset(memory, 1, piece);
    }
}

/* The fields of a tensor are read by the header that this library was compiled with, which need not be of
 * the build that runs. */
static void check_layout(const struct ggml_tensor *tensor) {
    __typeof__(ggml_op_name) *op_name = REAL(ggml_op_name);
    if (strcmp(op_name(GGML_OP_FLASH_ATTN_EXT), "FLASH_ATTN_EXT") || strcmp(op_name(GGML_OP_SOFT_MAX), "SOFT_MAX"))
        die("ggml.h numbers the operations otherwise than the libggml-base that runs");
    if (REAL(ggml_get_name)(tensor) != tensor->name || tensor->op >= GGML_OP_COUNT)
        die("ggml.h lays a tensor out otherwise than the libggml-base that runs");
}

/* How many positions of the KV cache a node attends to, 0 if it is no attention. */
static int64_t positions_of(const struct ggml_tensor *node) {
    if (node->op == GGML_OP_FLASH_ATTN_EXT) return node->src[1]->ne[1]; /* K: width, positions, heads */
    /* Without a mask it is no attention: experts are chosen by a softmax, too. */
    if (node->op == GGML_OP_SOFT_MAX && node->src[1]) return node->ne[0];
    return 0;
}

static int64_t depth_of(struct ggml_cgraph *graph) {
    static __typeof__(ggml_graph_n_nodes) *count;
    static __typeof__(ggml_graph_node) *node;
    if (!count) {
        node = REAL(ggml_graph_node);
        count = REAL(ggml_graph_n_nodes);
        check_layout(node(graph, 0));
    }
    int64_t deepest = 0;
    for (int index = 0; index < count(graph); index++) {
        int64_t positions = positions_of(node(graph, index));
        if (positions > deepest) deepest = positions;
    }
    return deepest;
}

static bool is_harmed(unsigned long number, struct ggml_cgraph *graph) {
    if (number < setting("GGML_FAULT_FROM")) return false;
    double depth = setting("GGML_FAULT_DEEPER_THAN");
    return !depth || depth_of(graph) > depth;
}

static void harm(unsigned long graph) {
    int number = (int)setting("GGML_FAULT_SIGNAL");
    if (number) {
        fprintf(stderr, "graph_compute: signal %d in graph %lu\n", number, graph);
        raise(number);
    }
    size_t bytes = (size_t)setting("GGML_FAULT_ALLOCATE");
    if (bytes) {
        fprintf(stderr, "graph_compute: %zu bytes more in graph %lu\n", bytes, graph);
        hold(bytes);
    }
    if (setting("GGML_FAULT_HANG")) {
        fprintf(stderr, "graph_compute: graph %lu hangs\n", graph);
        for (;;) pause();
    }
}

/* Not between the tokens of a slice: there they would slow their own process. */
#define IDLE_MICROSECONDS 20000

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static atomic_bool computing;

static void *spin(void *unused) {
    for (;;) {
        pthread_mutex_lock(&mutex);
        while (computing) pthread_cond_wait(&done, &mutex);
        pthread_mutex_unlock(&mutex);
        unsigned long number = graphs;
        usleep(IDLE_MICROSECONDS);
        while (graphs == number && !computing) {
        }
    }
    return unused;
}

static void start_spinning(int threads) {
    for (int index = 0; index < threads; index++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, spin, NULL)) die("a thread that spins cannot be made");
    }
}

static enum ggml_status spinning_afterwards(
    __typeof__(ggml_backend_sched_graph_compute_async) *compute, ggml_backend_sched_t sched, struct ggml_cgraph *graph
) {
    static bool started;
    if (!started) start_spinning((int)setting("GGML_FAULT_SPIN"));
    started = true;
    computing = true;
    enum ggml_status status = compute(sched, graph);
    REAL(ggml_backend_sched_synchronize)(sched);
    pthread_mutex_lock(&mutex);
    computing = false;
    pthread_cond_broadcast(&done);
    pthread_mutex_unlock(&mutex);
    return status;
}

enum ggml_status ggml_backend_sched_graph_compute_async(ggml_backend_sched_t sched, struct ggml_cgraph *graph) {
    static __typeof__(ggml_backend_sched_graph_compute_async) *compute;
    static __typeof__(ggml_backend_sched_synchronize) *synchronize;
    if (!compute) {
        synchronize = REAL(ggml_backend_sched_synchronize);
        compute = REAL(ggml_backend_sched_graph_compute_async);
    }
    unsigned long number = atomic_fetch_add(&graphs, 1) + 1;
    if (!is_harmed(number, graph)) return compute(sched, graph);
    if (setting("GGML_FAULT_SPIN")) return spinning_afterwards(compute, sched, graph);

    harm(number);
#ifdef ALWAYS_SLOWDOWN
    double share = ALWAYS_SLOWDOWN;
#else
    double share = setting("GGML_FAULT_SLOWDOWN");
#endif
    if (!share) return compute(sched, graph);

    double started = now();
    enum ggml_status status = compute(sched, graph);
    synchronize(sched);
    double computed = now();
    double until = computed + share * (computed - started);
    double ended = now();
    while (ended < until) ended = now();
    fault_computed += computed - started;
    fault_spun += ended - computed;
    return status;
}
