/* counted.so, for LD_PRELOAD: how often a program asks for memory, and how many octets it copies.

   BENCH_COUNTED names a file of two 64-bit numbers (calls of malloc, calloc and realloc; octets of memcpy and memmove). Every
   process that inherits the environment maps it and adds to it. What the compiler copies in place (small pieces of a known size),
   what libc does inside, and what the kernel copies is not seen. Python's own allocator hides most requests: PYTHONMALLOC=malloc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static uint64_t nowhere[2];
static uint64_t *counted = nowhere;
static void *(*real_memcpy)(void *, const void *, size_t);
static void *(*real_memmove)(void *, const void *, size_t);

__attribute__((constructor)) static void begin(void) {
    real_memcpy = (void *(*)(void *, const void *, size_t))dlsym(RTLD_NEXT, "memcpy");
    real_memmove = (void *(*)(void *, const void *, size_t))dlsym(RTLD_NEXT, "memmove");
    const char *path = getenv("BENCH_COUNTED");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *there = mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (there != MAP_FAILED) counted = there;
}

static void add(int which, uint64_t much) { __atomic_fetch_add(&counted[which], much, __ATOMIC_RELAXED); }

void *malloc(size_t size) { add(0, 1); return __libc_malloc(size); }
void *calloc(size_t many, size_t size) { add(0, 1); return __libc_calloc(many, size); }
void *realloc(void *old, size_t size) { add(0, 1); return __libc_realloc(old, size); }

/* Before the constructor has run there is nothing to call yet. */
static void *slowly(void *to, const void *from, size_t size) {
    volatile char *t = to;
    const volatile char *f = from;
    if (t <= f) for (size_t i = 0; i < size; i++) t[i] = f[i];
    else for (size_t i = size; i-- > 0;) t[i] = f[i];
    return to;
}

void *memcpy(void *to, const void *from, size_t size) {
    add(1, size);
    return real_memcpy ? real_memcpy(to, from, size) : slowly(to, from, size);
}
void *memmove(void *to, const void *from, size_t size) {
    add(1, size);
    return real_memmove ? real_memmove(to, from, size) : slowly(to, from, size);
}
/* What _FORTIFY_SOURCE makes of them: Debian's Python calls these. */
void *__memcpy_chk(void *to, const void *from, size_t size, size_t room) {
    if (size > room) abort();
    return memcpy(to, from, size);
}
void *__memmove_chk(void *to, const void *from, size_t size, size_t room) {
    if (size > room) abort();
    return memmove(to, from, size);
}
