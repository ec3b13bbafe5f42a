/*
 * A disk that turns read-only, as Linux makes one after an error of its device: while the file READ_ONLY_WHEN is there, no
 * file below FAREBOX_DATA_DIR can be changed. Preloaded into the real binary; our own code. (A mount would do the same, but
 * not everybody may mount; and whoever is root is not held by the mode of a directory.)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int refuses(const char *path) {
    const char *when = getenv("READ_ONLY_WHEN"), *where = getenv("FAREBOX_DATA_DIR");
    return when && where && strncmp(path, where, strlen(where)) == 0 && syscall(SYS_faccessat, AT_FDCWD, when, F_OK) == 0;
}

static int refuses_at(int directory) {
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    return readlink(link, path, sizeof path - 1) > 0 && refuses(path);
}

static long no(void) {
    errno = EROFS;
    return -1;
}

static int open_any(int directory, const char *path, int flags, mode_t mode) {
    int changes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    if (changes && (path[0] == '/' || directory == AT_FDCWD ? refuses(path) : refuses_at(directory)))
        return (int)no();
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

#define OPEN(name, parameters, directory)                                                                              \
    int name parameters {                                                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        return open_any(directory, path, flags, mode);                                                                 \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int directory, const char *path, int flags, ...), directory)
OPEN(openat64, (int directory, const char *path, int flags, ...), directory)

#define CHANGE(type, name, parameters, is_refused, call)                                                               \
    type name parameters { return (type)((is_refused) ? no() : call); }
CHANGE(ssize_t, write, (int file, const void *bytes, size_t length), refuses_at(file), syscall(SYS_write, file, bytes, length))
CHANGE(ssize_t, pwrite, (int file, const void *bytes, size_t length, off_t at), refuses_at(file),
       syscall(SYS_pwrite64, file, bytes, length, at))
CHANGE(ssize_t, pwrite64, (int file, const void *bytes, size_t length, off64_t at), refuses_at(file),
       syscall(SYS_pwrite64, file, bytes, length, at))
CHANGE(int, ftruncate, (int file, off_t length), refuses_at(file), syscall(SYS_ftruncate, file, length))
CHANGE(int, ftruncate64, (int file, off64_t length), refuses_at(file), syscall(SYS_ftruncate, file, length))
CHANGE(int, fsync, (int file), refuses_at(file), syscall(SYS_fsync, file))
CHANGE(int, fdatasync, (int file), refuses_at(file), syscall(SYS_fdatasync, file))
CHANGE(int, rename, (const char *path, const char *to), refuses(path), syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, to, 0))
CHANGE(int, link, (const char *path, const char *to), refuses(to), syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, to, 0))
CHANGE(int, unlink, (const char *path), refuses(path), syscall(SYS_unlinkat, AT_FDCWD, path, 0))
CHANGE(int, unlinkat, (int at, const char *path, int flags), path[0] == '/' ? refuses(path) : refuses_at(at),
       syscall(SYS_unlinkat, at, path, flags))
CHANGE(int, rmdir, (const char *path), refuses(path), syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR))
CHANGE(int, mkdir, (const char *path, mode_t mode), refuses(path), syscall(SYS_mkdirat, AT_FDCWD, path, mode))
CHANGE(int, chmod, (const char *path, mode_t mode), refuses(path), syscall(SYS_fchmodat, AT_FDCWD, path, mode))
