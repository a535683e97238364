/* Stands in for NVIDIA's management library: what the real pynvml asks of it is answered from a script.
 *
 * The file that the variable NVML_STUB names is read anew whenever it changed. A line is one of
 *
 *   devices COUNT
 *   zero NANOSECONDS            when the script begins, on CLOCK_MONOTONIC
 *   at MILLISECONDS             what follows holds from then on
 *   used DEVICE BYTES           in use, whoever uses it; otherwise the sum of its processes'
 *   process DEVICE PID BYTES    computes there; "na" for bytes that are not told, "rss" for the RssAnon that
 *   drawing DEVICE PID BYTES    the process has now; "gone" takes it off the list
 *   error FUNCTION CODE         what the function answers instead
 *   tell FUNCTION NUMBER        what the function answers of every device
 *
 * The last line on each thing counts. With -DOLD the library lacks what drivers before 510 lack. The types are
 * those of nvml.h, as far as they are used: an nvmlReturn_t is an int, a device is a pointer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, MOST = 16 };
typedef unsigned long long number;
typedef struct { number total, free, used; } memory;
typedef struct { unsigned pid; number used; unsigned gpu_instance, compute_instance; } process;
typedef struct { int device, drawing; unsigned pid; char bytes[32]; } listed;
typedef struct { char name[64]; number value; } named;

typedef struct {
    int devices, listed_count, errors_count, told_count;
    number used[MOST];
    listed processes[MOST];
    named errors[MOST], told[MOST];
} state;

static number longest_gap, last_look;

static number now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void note_look(void) {
    number time = now();
    if (last_look && time - last_look > longest_gap) longest_gap = time - last_look;
    last_look = time;
}

static void put(named *all, int *count, const char *name, number value) {
    int place = 0;
    while (place < *count && strcmp(all[place].name, name)) place++;
    if (place == MOST) abort();
    if (place == *count) (*count)++;
    snprintf(all[place].name, sizeof all[place].name, "%s", name);
    all[place].value = value;
}

static void list(state *found, int device, int drawing, unsigned pid, const char *bytes) {
    int place = 0;
    listed *all = found->processes;
    while (place < found->listed_count &&
           (all[place].device != device || all[place].drawing != drawing || all[place].pid != pid)) place++;
    if (place == MOST) abort();
    if (place == found->listed_count) found->listed_count++;
    all[place] = (listed){device, drawing, pid, ""};
    snprintf(all[place].bytes, sizeof all[place].bytes, "%s", bytes);
}

/* Returns 0 without a script: then there is no driver. */
static int read_script(state *found) {
    static state kept;
    static struct stat as_kept;
    struct stat as_is;
    const char *path = getenv("NVML_STUB");
    if (path && !stat(path, &as_is) && as_is.st_ino == as_kept.st_ino &&
        !memcmp(&as_is.st_mtim, &as_kept.st_mtim, sizeof as_is.st_mtim)) {
        *found = kept;
        return 1;
    }
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256], text[64];
    number zero = 0, value;
    unsigned device, pid;
    int timed = 0;
    memset(found, 0, sizeof *found);
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "zero %llu", &zero) == 1) continue;
        if (sscanf(line, "at %llu", &value) == 1) {
            timed = 1;
            if (now() < zero + value * 1000000) break;
        } else if (sscanf(line, "devices %llu", &value) == 1) found->devices = (int)value;
        else if (sscanf(line, "used %u %llu", &device, &value) == 2 && device < MOST) found->used[device] = value;
        else if (sscanf(line, "process %u %u %31s", &device, &pid, text) == 3) list(found, device, 0, pid, text);
        else if (sscanf(line, "drawing %u %u %31s", &device, &pid, text) == 3) list(found, device, 1, pid, text);
        else if (sscanf(line, "error %63s %llu", text, &value) == 2) put(found->errors, &found->errors_count, text, value);
        else if (sscanf(line, "tell %63s %llu", text, &value) == 2) put(found->told, &found->told_count, text, value);
        else if (line[0] != '\n') abort();
    }
    fstat(fileno(file), &as_is);
    fclose(file);
    memset(&as_kept, 0, sizeof as_kept);
    if (!timed) {
        kept = *found;
        as_kept = as_is;
    }
    return 1;
}

static int enter(const char *function, state *found) {
    if (!read_script(found)) return DRIVER_NOT_LOADED;
    for (int each = 0; each < found->errors_count; each++)
        if (!strcmp(found->errors[each].name, function)) return (int)found->errors[each].value;
    return SUCCESS;
}

static unsigned place_of(void *device) { return (unsigned)(size_t)device - 1; }

static number anonymous(unsigned pid) {
    char path[64], line[256];
    number kib = 0;
    snprintf(path, sizeof path, "/proc/%u/status", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file) && sscanf(line, "RssAnon: %llu", &kib) != 1) {}
    fclose(file);
    return kib * 1024;
}

int nvmlInitWithFlags(unsigned flags) { state found; (void)flags; return enter("nvmlInitWithFlags", &found); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stub's"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    state found;
    int code = enter("nvmlDeviceGetCount_v2", &found);
    *count = found.devices;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    state found;
    int code = enter("nvmlDeviceGetHandleByIndex_v2", &found);
    *device = (void *)(size_t)(index + 1);
    return code ? code : (int)index < found.devices ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    state found;
    snprintf(name, length, "Stub %u", place_of(device));
    return enter("nvmlDeviceGetName", &found);
}

int nvmlDeviceGetMemoryInfo(void *device, memory *told) {
    state found;
    int code = enter("nvmlDeviceGetMemoryInfo", &found);
    told->total = 24ull << 30;
    if (!place_of(device)) note_look();
    told->used = found.used[place_of(device)];
    for (int each = 0; each < found.listed_count; each++) {
        const listed *one = &found.processes[each];
        if (one->device != (int)place_of(device)) continue;
        if (!strcmp(one->bytes, "rss")) told->used += anonymous(one->pid);
        else if (!found.used[place_of(device)]) told->used += strtoull(one->bytes, NULL, 10);
    }
    told->free = told->total - told->used;
    return code;
}

static int processes(const char *function, int drawing, void *device, unsigned *count, process *told) {
    state found;
    unsigned room = *count;
    int code = enter(function, &found);
    if (code) return code;
    *count = 0;
    for (int each = 0; each < found.listed_count; each++) {
        listed *one = &found.processes[each];
        if (one->device != (int)place_of(device) || one->drawing != drawing || !strcmp(one->bytes, "gone")) continue;
        if (*count < room && told) {
            number bytes = !strcmp(one->bytes, "na")    ? (number)-1
                           : !strcmp(one->bytes, "rss") ? anonymous(one->pid)
                                                        : strtoull(one->bytes, NULL, 10);
            told[*count] = (process){one->pid, bytes, -1, -1};
        }
        (*count)++;
    }
    return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define PROCESSES(FUNCTION, DRAWING) \
    int FUNCTION(void *device, unsigned *count, process *told) { \
        return processes(#FUNCTION, DRAWING, device, count, told); \
    }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, 0)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, 1)
#ifndef OLD
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, 0)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, 1)
#endif

static int tell(const char *function, number *told) {
    state found;
    int code = enter(function, &found);
    *told = 0;
    for (int each = 0; each < found.told_count; each++)
        if (!strcmp(found.told[each].name, function)) *told = found.told[each].value;
    return code;
}

static int tell_short(const char *function, unsigned *told) {
    number value;
    int code = tell(function, &value);
    *told = (unsigned)value;
    return code;
}

int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz) {
    (void)device;
    return kind == 1 ? tell_short("nvmlDeviceGetClockInfo", mhz) : INVALID_ARGUMENT;
}
int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *degrees) {
    (void)device;
    return sensor == 0 ? tell_short("nvmlDeviceGetTemperature", degrees) : INVALID_ARGUMENT;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    (void)device;
    return tell_short("nvmlDeviceGetPowerUsage", milliwatts);
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, number *millijoules) {
    (void)device;
    return tell("nvmlDeviceGetTotalEnergyConsumption", millijoules);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, number *reasons) {
    (void)device;
    return tell("nvmlDeviceGetCurrentClocksThrottleReasons", reasons);
}
#ifndef OLD
int nvmlDeviceGetCurrentClocksEventReasons(void *device, number *reasons) {
    return nvmlDeviceGetCurrentClocksThrottleReasons(device, reasons);
}
#endif

/* For tests alone: the longest time between two looks at device 0 since this was last asked. */
number stub_longest_gap(void) {
    number gap = longest_gap;
    longest_gap = last_look = 0;
    return gap;
}
