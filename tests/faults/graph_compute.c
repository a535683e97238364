/* Faults for llama.cpp, preloaded into a process that runs it.
 *
 * libllama hands every graph, so every batch it decodes, to ggml_backend_sched_graph_compute_async of
 * libggml-base. This library defines that function first, calls the real one, and does harm as the
 * environment says:
 *
 *   GGML_FAULT_FROM=N           begin at the N-th graph of the process, counted from 1 (default: 1)
 *   GGML_FAULT_SLOWDOWN=SHARE   every graph takes 1 + SHARE times as long: 0.05 is five per cent
 *   GGML_FAULT_SIGNAL=NUMBER    raise this signal in the middle of a decode, before the graph is computed
 *   GGML_FAULT_HANG=1           never return
 *   GGML_FAULT_ALLOCATE=BYTES   hold so many bytes more, all of them touched
 *
 * Without any of them, and in a process without ggml, it does nothing. The variables begin with GGML_ so
 * that they pass wherever llama.cpp's own do.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int (*compute_function)(void *sched, void *graph); /* answers an enum ggml_status */
typedef void (*synchronize_function)(void *sched);

static atomic_ulong graphs;

static void die(const char *what) {
    fprintf(stderr, "graph_compute: %s\n", what);
    _exit(70);
}

/* RTLD_NEXT looks behind this library in the global scope, and Python loads ggml outside of it. */
static void *real(const char *name) {
    void *ggml = dlopen("libggml-base.so.0", RTLD_NOW | RTLD_NOLOAD);
    void *found = ggml ? dlsym(ggml, name) : NULL;
    if (!found) die("the real function is not in libggml-base.so.0");
    return found;
}

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
    const size_t piece = 1 << 20; /* small pieces: a large one may be refused, which is not death */
    for (size_t held = 0; held < bytes; held += piece) {
        void *memory = malloc(piece);
        if (!memory) die("malloc refused");
        memset(memory, 1, piece);
    }
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

int ggml_backend_sched_graph_compute_async(void *sched, void *graph) {
    static compute_function compute;
    static synchronize_function synchronize;
    if (!compute) {
        synchronize = (synchronize_function)real("ggml_backend_sched_synchronize");
        compute = (compute_function)real("ggml_backend_sched_graph_compute_async");
    }
    unsigned long number = atomic_fetch_add(&graphs, 1) + 1;
    double from = setting("GGML_FAULT_FROM");
    if (number < from) return compute(sched, graph);

    harm(number);
    double share = setting("GGML_FAULT_SLOWDOWN");
    if (!share) return compute(sched, graph);

    double started = now();
    int status = compute(sched, graph);
    synchronize(sched);
    double computed = now();
    double until = computed + share * (computed - started);
    while (now() < until) {
    }
    return status;
}
