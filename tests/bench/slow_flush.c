/* A slow disk: loaded before a program (LD_PRELOAD), it makes each flush take SLOW_FLUSH_US microseconds longer, like the flush
 * of a cloud volume or of a spinning disk. The flush itself is still made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static void wait_longer(void) {
    const char *text = getenv("SLOW_FLUSH_US");
    long us = text ? atol(text) : 0;
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    int kept = errno;
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    errno = kept;
}

int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_longer();
    return real(file);
}

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_longer();
    return real(file);
}
