/*
 * Writes down what a process does to the files below FAREBOX_DATA_DIR, in order, into the file POWER_LOG, so that
 * a test can build the disks that a power cut could have left (disk.rs). Preloaded into the real binary; our own code.
 *
 * Each change is made and written down under one mutex, so that the order in the log is the order on the disk. A sync is
 * written down twice, when it begins and when it has ended: what was written between the two may or may not be in it.
 * Left out: files that end in -shm, SQLite's index of its log in shared memory, which is made anew after a crash.
 *
 * POWER_SWALLOW: syncs of files whose path has this in it say that they were done, and are not; `/` means directories.
 * POWER_BOOT: the file that is read in the place of the kernel's boot id.
 * At the signal DIE the process ends as by kill -9, with no change made and not written down.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 65536
#define PATH_BYTES 4096
#define DIE (SIGRTMIN + 5)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* As Change::kind in trace.rs. */
enum { CREATE = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MAKE_DIRECTORY, REMOVE_DIRECTORY, LINK, STRANGE };
/* Of SYNC_BEGIN and SYNC_END: it was not done. Of WRITE: all of it is zeros, and not in the log. */
enum { PLAIN = 0, SWALLOWED = 1, ZEROS = 2 };

struct change {
    uint32_t kind, flag;
    uint64_t nanos, file;
    int64_t at; /* of a sync: its ticket */
    uint64_t length;
    uint32_t path_length, other_length, data_length, unused;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t dying;
static char followed[FILES_MAX];
static int log_file = -1;
static int64_t tickets;

static void die_soon(int signal) {
    (void)signal;
    dying = 1;
}

__attribute__((constructor)) static void begin(void) { signal(DIE, die_soon); }

static void take_turn(void) {
    pthread_mutex_lock(&turn);
    while (dying)
        syscall(SYS_kill, getpid(), SIGKILL);
}

static const char *data_dir(void) {
    static const char *kept;
    if (!kept)
        kept = getenv("FAREBOX_DATA_DIR");
    return kept ? kept : "/nowhere";
}

static void tell(uint32_t kind, uint32_t flag, uint64_t file, int64_t at, uint64_t length, const char *path,
                 const char *other, const void *data, size_t data_length) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (log_file < 0) {
        const char *name = getenv("POWER_LOG");
        int low = (int)syscall(SYS_openat, AT_FDCWD, name ? name : "/dev/null", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        log_file = fcntl(low, F_DUPFD_CLOEXEC, 900);
        syscall(SYS_close, low);
    }
    struct change change = {kind, flag, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, file, at, length,
                            (uint32_t)strlen(path), (uint32_t)strlen(other), (uint32_t)data_length, 0};
    struct iovec parts[4] = {{&change, sizeof change}, {(void *)path, change.path_length},
                             {(void *)other, change.other_length}, {(void *)data, data_length}};
    size_t whole = sizeof change + change.path_length + change.other_length + data_length;
    if (syscall(SYS_writev, log_file, parts, 4) != (long)whole)
        abort(); /* a log with a gap would be taken for the truth */
}

static int is_ours(const char *path) {
    size_t length = strlen(data_dir()), whole = strlen(path);
    if (strncmp(path, data_dir(), length) != 0 || (path[length] != '/' && path[length] != 0))
        return 0;
    return whole < 4 || strcmp(path + whole - 4, "-shm") != 0;
}

/* The whole path of what stands at a directory's descriptor. */
static const char *whole_path(int directory, const char *path, char *room) {
    if (path[0] == '/' || directory == AT_FDCWD)
        return path;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, room, PATH_BYTES - 1);
    if (length < 0)
        return path;
    snprintf(room + length, (size_t)(PATH_BYTES - length), "/%s", path);
    return room;
}

static uint64_t number_of(int file, mode_t *mode) {
    struct stat found;
    if (fstat(file, &found) != 0)
        return 0;
    *mode = found.st_mode;
    return found.st_ino;
}

/* The file's number, or 0 when it is none that is followed. */
static uint64_t followed_file(int file) {
    mode_t mode = 0;
    if (file < 0 || file >= FILES_MAX || !followed[file])
        return 0;
    uint64_t number = number_of(file, &mode);
    return S_ISREG(mode) ? number : 0;
}

static int open_any(int directory, const char *given, int flags, mode_t mode) {
    char room[PATH_BYTES];
    const char *path = whole_path(directory, given, room);
    const char *boot = getenv("POWER_BOOT");
    if (boot && strcmp(path, BOOT_ID) == 0)
        return (int)syscall(SYS_openat, AT_FDCWD, boot, flags, mode);
    if (!is_ours(path)) {
        int file = (int)syscall(SYS_openat, directory, given, flags, mode);
        if (file >= 0 && file < FILES_MAX)
            followed[file] = 0;
        return file;
    }
    take_turn();
    struct stat before;
    int is_new = (flags & O_CREAT) && stat(path, &before) != 0;
    int file = (int)syscall(SYS_openat, directory, given, flags, mode);
    int error = errno;
    if (file >= 0 && file < FILES_MAX) {
        mode_t kind = 0;
        uint64_t number = number_of(file, &kind);
        followed[file] = 1;
        if (is_new)
            tell(CREATE, PLAIN, number, 0, 0, path, "", "", 0);
        else if ((flags & O_TRUNC) && S_ISREG(kind))
            tell(TRUNCATE, PLAIN, number, 0, 0, path, "", "", 0);
    }
    pthread_mutex_unlock(&turn);
    errno = error;
    return file;
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

#define OPEN(name, parameters, directory)                                                                              \
    int name parameters {                                                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return open_any(directory, path, flags, mode);                                                                 \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int directory, const char *path, int flags, ...), directory)
OPEN(openat64, (int directory, const char *path, int flags, ...), directory)

int close(int file) {
    if (file >= 0 && file < FILES_MAX)
        followed[file] = 0;
    return (int)syscall(SYS_close, file);
}

static int is_zeros(const char *bytes, size_t length) {
    return length >= 512 && bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static void tell_written(uint64_t number, int64_t at, const void *bytes, ssize_t length) {
    if (length > 0 && is_zeros(bytes, (size_t)length))
        tell(WRITE, ZEROS, number, at, (uint64_t)length, "", "", "", 0);
    else if (length > 0)
        tell(WRITE, PLAIN, number, at, (uint64_t)length, "", "", bytes, (size_t)length);
}

static ssize_t write_at(int file, const void *bytes, size_t length, off_t at) {
    uint64_t number = followed_file(file);
    if (!number)
        return syscall(SYS_pwrite64, file, bytes, length, at);
    take_turn();
    ssize_t written = syscall(SYS_pwrite64, file, bytes, length, at);
    int error = errno;
    tell_written(number, at, bytes, written);
    pthread_mutex_unlock(&turn);
    errno = error;
    return written;
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) { return write_at(file, bytes, length, at); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) { return write_at(file, bytes, length, at); }

ssize_t write(int file, const void *bytes, size_t length) {
    uint64_t number = followed_file(file);
    if (!number)
        return syscall(SYS_write, file, bytes, length);
    take_turn();
    ssize_t written = syscall(SYS_write, file, bytes, length);
    int error = errno;
    if (written > 0)
        tell_written(number, lseek(file, 0, SEEK_CUR) - written, bytes, written);
    pthread_mutex_unlock(&turn);
    errno = error;
    return written;
}

static int truncated(int file, off_t length) {
    uint64_t number = followed_file(file);
    take_turn();
    int done = (int)syscall(SYS_ftruncate, file, length);
    int error = errno;
    if (number && done == 0)
        tell(TRUNCATE, PLAIN, number, 0, (uint64_t)length, "", "", "", 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return done;
}

int ftruncate(int file, off_t length) { return truncated(file, length); }
int ftruncate64(int file, off64_t length) { return truncated(file, length); }

static int sync_any(int file, long call) {
    if (file < 0 || file >= FILES_MAX || !followed[file])
        return (int)syscall(call, file);
    char link[64], path[PATH_BYTES] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) < 0)
        path[0] = 0;
    mode_t mode = 0;
    uint64_t number = number_of(file, &mode);
    const char *swallow = getenv("POWER_SWALLOW");
    int is_meant = swallow && (S_ISDIR(mode) ? strcmp(swallow, "/") == 0 : strstr(path, swallow) != NULL);
    uint32_t flag = is_meant ? SWALLOWED : PLAIN;
    take_turn();
    int64_t ticket = ++tickets * 1000000 + getpid() % 1000000;
    tell(SYNC_BEGIN, flag, number, ticket, 0, path, "", "", 0);
    pthread_mutex_unlock(&turn);
    int done = flag == SWALLOWED ? 0 : (int)syscall(call, file);
    int error = errno;
    take_turn();
    if (done == 0)
        tell(SYNC_END, flag, number, ticket, 0, path, "", "", 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return done;
}

int fsync(int file) { return sync_any(file, SYS_fsync); }
int fdatasync(int file) { return sync_any(file, SYS_fdatasync); }

/* A change of names, by a system call with at most five words. */
static int renamed(uint32_t kind, long call, int from, const char *path, int to, const char *other, unsigned long flag) {
    char room[PATH_BYTES], more[PATH_BYTES];
    const char *whole = whole_path(from, path, room), *target = other ? whole_path(to, other, more) : "";
    take_turn();
    int done = other ? (int)syscall(call, from, path, to, other, flag) : (int)syscall(call, from, path, flag);
    int error = errno;
    if (done == 0 && (is_ours(whole) || is_ours(target)))
        tell(kind, PLAIN, 0, 0, 0, whole, target, "", 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return done;
}

int rename(const char *path, const char *to) { return renamed(RENAME, SYS_renameat2, AT_FDCWD, path, AT_FDCWD, to, 0); }
int renameat(int from, const char *path, int at, const char *to) {
    return renamed(RENAME, SYS_renameat2, from, path, at, to, 0);
}
int renameat2(int from, const char *path, int at, const char *to, unsigned int flags) {
    return renamed(RENAME, SYS_renameat2, from, path, at, to, flags);
}
int link(const char *path, const char *to) { return renamed(LINK, SYS_linkat, AT_FDCWD, path, AT_FDCWD, to, 0); }
int linkat(int from, const char *path, int at, const char *to, int flags) {
    return renamed(LINK, SYS_linkat, from, path, at, to, (unsigned long)flags);
}
int unlink(const char *path) { return renamed(UNLINK, SYS_unlinkat, AT_FDCWD, path, 0, NULL, 0); }
int unlinkat(int at, const char *path, int flags) {
    uint32_t kind = flags & AT_REMOVEDIR ? REMOVE_DIRECTORY : UNLINK;
    return renamed(kind, SYS_unlinkat, at, path, 0, NULL, (unsigned long)flags);
}
int rmdir(const char *path) { return renamed(REMOVE_DIRECTORY, SYS_unlinkat, AT_FDCWD, path, 0, NULL, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return renamed(MAKE_DIRECTORY, SYS_mkdirat, AT_FDCWD, path, 0, NULL, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return renamed(MAKE_DIRECTORY, SYS_mkdirat, at, path, 0, NULL, mode); }

/* Ways to change a file that this does not follow: said in the log, where the test meets it. */
static void strange(int file, const char *how) {
    uint64_t number = followed_file(file);
    if (number) {
        take_turn();
        tell(STRANGE, PLAIN, number, 0, 0, how, "", "", 0);
        pthread_mutex_unlock(&turn);
    }
}

void *mmap(void *place, size_t length, int may, int flags, int file, off_t at) {
    if ((flags & MAP_SHARED) && (may & PROT_WRITE))
        strange(file, "mmap");
    return (void *)syscall(SYS_mmap, place, length, may, flags, file, at);
}
void *mmap64(void *place, size_t length, int may, int flags, int file, off64_t at) {
    return mmap(place, length, may, flags, file, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    strange(file, "writev");
    return syscall(SYS_writev, file, parts, count);
}
int fallocate(int file, int mode, off_t at, off_t length) {
    strange(file, "fallocate");
    return (int)syscall(SYS_fallocate, file, mode, at, length);
}
int fallocate64(int file, int mode, off64_t at, off64_t length) { return fallocate(file, mode, at, length); }
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *place, size_t length, unsigned int flags) {
    strange(to, "copy_file_range");
    return syscall(SYS_copy_file_range, from, at, to, place, length, flags);
}
