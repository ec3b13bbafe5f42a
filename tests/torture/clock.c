/*
 * A clock that is set: the time of day is as many seconds off as the file CLOCK_STEP says (eight bytes, as the machine
 * writes them), from the moment that it says so. Preloaded into the real binary; our own code.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *step;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_STEP");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *place = mmap(NULL, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
        step = place == MAP_FAILED ? NULL : place;
        close(file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = (int)syscall(SYS_clock_gettime, clock, now);
    if (done == 0 && step && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += (time_t)*step;
    return done;
}
