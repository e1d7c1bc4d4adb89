/* A wall clock that steps: LD_PRELOAD it, and it adds the seconds in the file $STEPPED_CLOCK (a
 * native 64-bit number) to what a process reads of CLOCK_REALTIME. Absolute deadlines of that clock
 * are turned back before the kernel waits for them. The monotonic clock is left alone, as in a real
 * step. libfaketime 0.9.10 cannot be used: with it, time.sleep of Python 3.11 fails with EINVAL.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none = 0, *ahead = &none;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) ahead = page;
    close(file);
}

/* The function of libc: pthread_cond_timedwait has an older version, which dlsym may find. */
static void *libc(const char *name) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = libc(#name)

/* A deadline for the kernel. One below 2001 is of the monotonic clock, which starts with the machine. */
static struct timespec turned_back(const struct timespec *until) {
    struct timespec at = *until;
    if (at.tv_sec > 1000000000) at.tv_sec -= *ahead;
    return at;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int failed = real(now, zone);
    if (!failed) now->tv_sec += *ahead;
    return failed;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    REAL(clock_nanosleep);
    if (!(flags & TIMER_ABSTIME)) return real(clock, flags, until, left);
    struct timespec at = turned_back(until);
    return real(clock, flags, &at, left);
}

int pthread_cond_timedwait(pthread_cond_t *one, pthread_mutex_t *lock, const struct timespec *until) {
    REAL(pthread_cond_timedwait);
    struct timespec at = turned_back(until);
    return real(one, lock, &at);
}

int pthread_mutex_timedlock(pthread_mutex_t *lock, const struct timespec *until) {
    REAL(pthread_mutex_timedlock);
    struct timespec at = turned_back(until);
    return real(lock, &at);
}

int sem_timedwait(sem_t *one, const struct timespec *until) {
    REAL(sem_timedwait);
    struct timespec at = turned_back(until);
    return real(one, &at);
}

int sem_clockwait(sem_t *one, clockid_t clock, const struct timespec *until) {
    REAL(sem_clockwait);
    struct timespec at = turned_back(until);
    return real(one, clock, &at);
}

int cnd_timedwait(cnd_t *one, mtx_t *lock, const struct timespec *until) {
    REAL(cnd_timedwait);
    struct timespec at = turned_back(until);
    return real(one, lock, &at);
}

int mtx_timedlock(mtx_t *lock, const struct timespec *until) {
    REAL(mtx_timedlock);
    struct timespec at = turned_back(until);
    return real(lock, &at);
}
