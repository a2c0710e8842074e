/* Preloaded into a program, it writes down whatever the program does to the files below some folders, in the one order in which it
   happened, across all threads and processes that have it. recorder.py compiles it, and reads what it wrote.

   RECORDER_LOG      the file to append to; without it nothing is written down
   RECORDER_FOLDERS  the folders, separated by colons; resolved, absolute
   RECORDER_SYNC     microseconds that a sync takes; the disk itself is not bothered, since the record alone decides what is durable
   RECORDER_BOOT     a file that is read where the program asks for the boot id

   A call and its line in the record are one step: a lock on the record is held over both. A sync is two lines, its begin and its end:
   what is written between them may or may not have been caught by it. Files are named by their inode, so that duplicated and
   inherited descriptors need no book-keeping. Calls whose effect could not be replayed are written down as such (X). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

struct head { /* recorder.py has the same */
    char kind;
    char spare;
    uint16_t first, second; /* octets of the two texts behind this */
    uint32_t process;
    uint64_t inode;
    uint64_t number; /* an offset, a length, or the number of a sync */
    uint64_t size;   /* octets of data behind the texts */
} __attribute__((packed));

static int record = -1;
static char *folders, *boot;
static long sync_time = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_ulong syncs;
static __thread char label[256];

static void open_record(const char *path)
{
    int fd;

    record = -1;
    if (path == NULL)
        return;
    fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        abort();
    record = fcntl(fd, F_DUPFD_CLOEXEC, 900); /* out of the way of programs that count theirs */
    if (record < 0)
        record = fd;
    else
        close(fd);
}

static void before_fork(void) { pthread_mutex_lock(&mutex); }
static void in_parent(void) { pthread_mutex_unlock(&mutex); }

static void in_child(void)
{
    /* flock is the open file's: sharing the parent's would not keep the two apart. */
    if (record >= 0) {
        char path[64];
        int inherited = record;

        /* By the descriptor: whoever has given up root since does not reach the record's folder. */
        snprintf(path, sizeof path, "/proc/self/fd/%d", inherited);
        open_record(path);
        close(inherited);
    }
    pthread_mutex_unlock(&mutex);
}

__attribute__((constructor)) static void begin(void)
{
    const char *microseconds = getenv("RECORDER_SYNC");

    folders = getenv("RECORDER_FOLDERS");
    boot = getenv("RECORDER_BOOT");
    if (microseconds != NULL)
        sync_time = atol(microseconds);
    open_record(getenv("RECORDER_LOG"));
    pthread_atfork(before_fork, in_parent, in_child);
}

/* A process that closes whatever it has inherited keeps this one. */
int close(int fd)
{
    if (fd >= 0 && fd == record) {
        errno = EBADF;
        return -1;
    }
    return syscall(SYS_close, fd);
}

/* From here on, and not from the start: for a process that was forked. */
void recorder_begin(const char *log, const char *boot_id)
{
    setenv("RECORDER_LOG", log, 1);
    boot = strdup(boot_id);
    open_record(log);
}

/* Who calls the next sync of this thread, for the record. */
void recorder_label(const char *text) { snprintf(label, sizeof label, "%s", text); }

static int ours(const char *path)
{
    const char *folder = folders;

    while (folder != NULL && *folder) {
        const char *end = strchrnul(folder, ':');
        size_t length = end - folder;
        if (strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0))
            return 1;
        folder = *end ? end + 1 : end;
    }
    return 0;
}

static int place_of(int fd, char *place)
{
    char link[40];
    ssize_t length;
    int before = errno;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, place, PATH_MAX - 1);
    errno = before;
    if (length < 0)
        return 0;
    place[length] = 0;
    return ours(place);
}

static int below(int folder, const char *path, char *place)
{
    int before = errno, found = 1;

    if (path[0] == '/')
        snprintf(place, PATH_MAX, "%s", path);
    else {
        size_t length;
        if (folder == AT_FDCWD)
            found = getcwd(place, PATH_MAX) != NULL;
        else {
            char link[40];
            ssize_t got;
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            got = readlink(link, place, PATH_MAX - 1);
            found = got >= 0;
            if (found)
                place[got] = 0;
        }
        length = found ? strlen(place) : 0;
        if (found)
            snprintf(place + length, PATH_MAX - length, "/%s", path);
    }
    errno = before;
    return found && ours(place);
}

static uint64_t inode_of(int fd)
{
    struct stat found;
    int before = errno;
    uint64_t inode = fstat(fd, &found) == 0 ? found.st_ino : 0;

    errno = before;
    return inode;
}

static uint64_t inode_at(const char *place)
{
    struct stat found;
    int before = errno;
    uint64_t inode = lstat(place, &found) == 0 ? found.st_ino : 0;

    errno = before;
    return inode;
}

static void lock(void)
{
    int before = errno;

    pthread_mutex_lock(&mutex);
    while (flock(record, LOCK_EX) < 0)
        if (errno != EINTR)
            abort();
    errno = before;
}

static void unlock(void)
{
    int before = errno;

    flock(record, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = before;
}

static void put(char kind, uint64_t inode, uint64_t number, const char *first, const char *second,
                const struct iovec *data, int count, size_t size)
{
    struct head head = {.kind = kind, .process = getpid(), .inode = inode, .number = number, .size = size};
    struct iovec parts[3 + 64];
    size_t total;
    int before = errno, used = 3;

    if (count > 64)
        abort();
    head.first = first ? strlen(first) : 0;
    head.second = second ? strlen(second) : 0;
    parts[0] = (struct iovec){&head, sizeof head};
    parts[1] = (struct iovec){(void *)first, head.first};
    parts[2] = (struct iovec){(void *)second, head.second};
    total = sizeof head + head.first + head.second + size;
    for (int n = 0; n < count && size > 0; n++) {
        size_t some = data[n].iov_len < size ? data[n].iov_len : size;
        parts[used++] = (struct iovec){data[n].iov_base, some};
        size -= some;
    }
    if (syscall(SYS_writev, record, parts, used) != (ssize_t)total)
        abort(); /* a record with a gap proves nothing */
    errno = before;
}

static void note(char kind, uint64_t inode, uint64_t number, const char *first, const char *second)
{
    put(kind, inode, number, first, second, NULL, 0, 0);
}

static void cannot(const char *what, const char *place)
{
    lock();
    note('X', 0, 0, place, what);
    unlock();
}

/* open */

static int do_open(int folder, const char *path, int flags, mode_t mode)
{
    char place[PATH_MAX];
    int fd, new, unnamed = (flags & O_TMPFILE) == O_TMPFILE;

    if (boot != NULL && strcmp(path, BOOT_ID) == 0)
        path = boot;
    if (record < 0 || !(unnamed || flags & (O_CREAT | O_TRUNC)) || !below(folder, path, place))
        return syscall(SYS_openat, folder, path, flags, mode);
    if (flags & O_DSYNC)
        cannot("O_SYNC", place);
    lock();
    new = unnamed || inode_at(place) == 0;
    fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0) {
        if (unnamed)
            note('T', inode_of(fd), 0, NULL, NULL);
        else if (new)
            note('C', inode_of(fd), 0, place, NULL);
        else if (flags & O_TRUNC)
            note('Z', inode_of(fd), 0, place, NULL);
    }
    unlock();
    return fd;
}

#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {                                                         \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return do_open(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return do_open(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return do_open(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* write */

static ssize_t do_write(int fd, const struct iovec *data, int count, off_t offset, int positioned)
{
    char place[PATH_MAX];
    ssize_t written;

    if (record < 0 || !place_of(fd, place))
        return positioned ? syscall(SYS_pwritev, fd, data, count, offset, 0) : syscall(SYS_writev, fd, data, count);
    lock();
    written = positioned ? syscall(SYS_pwritev, fd, data, count, offset, 0) : syscall(SYS_writev, fd, data, count);
    if (written > 0) {
        if (!positioned)
            offset = syscall(SYS_lseek, fd, 0, SEEK_CUR) - written;
        put('W', inode_of(fd), offset, place, NULL, data, count, written);
    }
    unlock();
    return written;
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec one = {(void *)data, size};
    return record < 0 ? syscall(SYS_write, fd, data, size) : do_write(fd, &one, 1, 0, 0);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    struct iovec one = {(void *)data, size};
    return record < 0 ? syscall(SYS_pwrite64, fd, data, size, offset) : do_write(fd, &one, 1, offset, 1);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }
ssize_t writev(int fd, const struct iovec *data, int count) { return do_write(fd, data, count, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *data, int count, off_t offset) { return do_write(fd, data, count, offset, 1); }
ssize_t pwritev64(int fd, const struct iovec *data, int count, off_t offset) { return do_write(fd, data, count, offset, 1); }

ssize_t pwritev2(int fd, const struct iovec *data, int count, off_t offset, int flags)
{
    char place[PATH_MAX];

    if (flags == 0) /* which is how Python calls it */
        return do_write(fd, data, count, offset, offset != -1);
    if (record >= 0 && place_of(fd, place))
        cannot("pwritev2", place);
    return syscall(SYS_pwritev2, fd, data, count, offset, 0, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *data, int count, off_t offset, int flags) { return pwritev2(fd, data, count, offset, flags); }

/* lengths */

int ftruncate(int fd, off_t length)
{
    char place[PATH_MAX];
    int status;

    if (record < 0 || !place_of(fd, place))
        return syscall(SYS_ftruncate, fd, length);
    lock();
    status = syscall(SYS_ftruncate, fd, length);
    if (status == 0)
        note('Z', inode_of(fd), length, place, NULL);
    unlock();
    return status;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int truncate(const char *path, off_t length)
{
    char place[PATH_MAX];
    int status;

    if (record < 0 || !below(AT_FDCWD, path, place))
        return syscall(SYS_truncate, path, length);
    lock();
    status = syscall(SYS_truncate, path, length);
    if (status == 0)
        note('Z', inode_at(place), length, place, NULL);
    unlock();
    return status;
}

int truncate64(const char *path, off_t length) { return truncate(path, length); }

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    char place[PATH_MAX];
    int status;

    if (record < 0 || !place_of(fd, place))
        return syscall(SYS_fallocate, fd, mode, offset, length);
    if (mode & ~FALLOC_FL_KEEP_SIZE)
        cannot("fallocate", place);
    lock();
    status = syscall(SYS_fallocate, fd, mode, offset, length);
    if (status == 0 && mode == 0)
        note('A', inode_of(fd), offset + length, place, NULL);
    unlock();
    return status;
}

int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }

int posix_fallocate(int fd, off_t offset, off_t length)
{
    int before = errno, status = fallocate(fd, 0, offset, length) == 0 ? 0 : errno;

    errno = before;
    return status;
}

int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

/* sync */

static int do_sync(int call, int fd)
{
    char place[PATH_MAX];
    unsigned long number;
    int before = errno;

    if (sync_time < 0 || !place_of(fd, place))
        return syscall(call, fd);
    number = atomic_fetch_add(&syncs, 1);
    if (record >= 0) {
        lock();
        note('S', inode_of(fd), number, place, label);
        unlock();
    }
    label[0] = 0;
    if (sync_time > 0)
        usleep(sync_time);
    if (record >= 0) {
        lock();
        note('E', 0, number, NULL, NULL);
        unlock();
    }
    errno = before;
    return 0;
}

int fsync(int fd) { return do_sync(SYS_fsync, fd); }
int fdatasync(int fd) { return do_sync(SYS_fdatasync, fd); }

int syncfs(int fd)
{
    char place[PATH_MAX];

    if (record >= 0 && place_of(fd, place))
        cannot("syncfs", place);
    return syscall(SYS_syncfs, fd);
}

/* names */

static int do_rename(int from, const char *old, int to, const char *new, unsigned flags)
{
    char first[PATH_MAX], second[PATH_MAX];
    int status, left, right;

    left = record >= 0 && below(from, old, first);
    right = record >= 0 && below(to, new, second);
    if (!left && !right)
        return syscall(SYS_renameat2, from, old, to, new, flags);
    if (left != right || flags)
        cannot("rename", left ? first : second);
    lock();
    status = syscall(SYS_renameat2, from, old, to, new, flags);
    if (status == 0)
        note('N', 0, 0, first, second);
    unlock();
    return status;
}

int rename(const char *old, const char *new) { return do_rename(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return do_rename(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return do_rename(from, old, to, new, flags); }

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    char place[PATH_MAX];
    int status;

    if (record < 0 || !below(to, new, place))
        return syscall(SYS_linkat, from, old, to, new, flags);
    lock();
    status = syscall(SYS_linkat, from, old, to, new, flags);
    if (status == 0)
        note('L', inode_at(place), 0, place, NULL);
    unlock();
    return status;
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *path, int flags)
{
    char place[PATH_MAX];
    int status;

    if (record < 0 || !below(folder, path, place))
        return syscall(SYS_unlinkat, folder, path, flags);
    lock();
    status = syscall(SYS_unlinkat, folder, path, flags);
    if (status == 0)
        note('U', 0, 0, place, NULL);
    unlock();
    return status;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path)
{
    int status = unlinkat(AT_FDCWD, path, 0);
    return status < 0 && errno == EISDIR ? rmdir(path) : status;
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    char place[PATH_MAX];
    int status;

    if (record < 0 || !below(folder, path, place))
        return syscall(SYS_mkdirat, folder, path, mode);
    lock();
    status = syscall(SYS_mkdirat, folder, path, mode);
    if (status == 0)
        note('D', inode_at(place), 0, place, NULL);
    unlock();
    return status;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* what is copied from file to file is read and written here, so that it can be replayed */

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags)
{
    static __thread char piece[65536];
    char place[PATH_MAX];
    ssize_t got;
    struct iovec data = {piece, 0};

    if (record < 0 || !place_of(to, place))
        return syscall(SYS_copy_file_range, from, at, to, there, size, flags);
    if (!at || !there)
        cannot("copy_file_range without offsets", place);
    got = syscall(SYS_pread64, from, piece, size < sizeof piece ? size : sizeof piece, *at);
    if (got <= 0)
        return got;
    data.iov_len = got;
    got = do_write(to, &data, 1, *there, 1);
    if (got > 0) {
        *at += got;
        *there += got;
    }
    return got;
}

/* what could not be replayed */

int symlinkat(const char *to, int folder, const char *path)
{
    char place[PATH_MAX];

    if (record >= 0 && below(folder, path, place))
        cannot("symlink", place);
    return syscall(SYS_symlinkat, to, folder, path);
}

int symlink(const char *to, const char *path) { return symlinkat(to, AT_FDCWD, path); }

ssize_t sendfile(int to, int from, off_t *at, size_t size)
{
    char place[PATH_MAX];

    if (record >= 0 && place_of(to, place))
        cannot("sendfile", place);
    return syscall(SYS_sendfile, to, from, at, size);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) { return sendfile(to, from, at, size); }

void *mmap(void *where, size_t size, int rights, int flags, int fd, off_t offset)
{
    char place[PATH_MAX];

    if (record >= 0 && fd >= 0 && flags & MAP_SHARED && rights & PROT_WRITE && place_of(fd, place))
        cannot("mmap", place);
    return (void *)syscall(SYS_mmap, where, size, rights, flags, fd, offset);
}

void *mmap64(void *where, size_t size, int rights, int flags, int fd, off_t offset) { return mmap(where, size, rights, flags, fd, offset); }
