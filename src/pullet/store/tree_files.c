/* Makes and looks at many files of one directory in one call each, without the interpreter and its lock.
 *
 * What is made and in which order is what extract.py does for one plain file, which is the reference; whatever fails
 * ends the batch, and Python does that file anew, and words the error. Nothing is followed: a name is made by
 * O_CREAT | O_EXCL in an open directory, and looked at itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "erofs_inode.h"

static int make_file(int parent, const char *name, const struct inode *file, const uint8_t *data, uint32_t umask) {
    mode_t mode = file->mode & 07777;
    int descriptor = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0777);
    if (descriptor < 0)
        return -1;
    int failed = (file->uid || file->gid) && fchown(descriptor, file->uid, file->gid);
    for (uint64_t done = 0; !failed && done < file->size;) {
        ssize_t count = write(descriptor, data + done, file->size - done);
        if (count > 0)
            done += (uint64_t)count;
        else
            failed = count == 0 || errno != EINTR;
    }
    if (!failed && mode & (umask | 07000)) /* last: writing takes set-id bits away */
        failed = fchmod(descriptor, mode);
    struct timespec times[2] = {{.tv_sec = file->mtime}, {.tv_sec = file->mtime}};
    failed = failed || futimens(descriptor, times);
    failed = close(descriptor) || failed;
    if (failed)
        unlinkat(parent, name, 0);
    return failed ? -1 : 0;
}

/* Make the files that lie whole in `piece` (bytes from `start` of the tar on); gives how many, in order, were made. */
uint32_t tree_make_files(int parent, const char *names, const struct inode *files, uint32_t count,
                         const uint8_t *piece, uint64_t start, uint64_t length, uint32_t umask) {
    for (uint32_t at = 0; at < count; at++, names += strlen(names) + 1) {
        const struct inode *file = &files[at];
        uint64_t offset = 0;
        if (file->size) {
            uint64_t in_tar = ((uint64_t)file->start_block << BLOCK_BITS) - DATA_START;
            offset = in_tar - start;
            if (in_tar < start || offset > length || file->size > length - offset)
                return at;
        }
        if (make_file(parent, names, file, piece + offset, umask))
            return at;
    }
    return count;
}

/* What fstatat says of an entry, and whether it has extended attributes; the layout is known to tree_files.py. */
struct look {
    uint64_t inode, device_number, links, size, blocks;
    int64_t mtime_seconds, mtime_nanoseconds;
    uint32_t mode, uid, gid, has_attributes;
};

/* Look at `count` entries of a directory; gives how many, in order, could be looked at. */
uint32_t tree_look(int directory, const char *names, uint32_t count, struct look *looks) {
    char path[64 + NAME_MAX];
    int prefix = snprintf(path, sizeof path, "/proc/self/fd/%d/", directory);
    for (uint32_t at = 0; at < count; at++, names += strlen(names) + 1) {
        struct stat status;
        if (strlen(names) > NAME_MAX || fstatat(directory, names, &status, AT_SYMLINK_NOFOLLOW))
            return at;
        ssize_t attributes = 0;
        if (!S_ISLNK(status.st_mode) && !S_ISDIR(status.st_mode)) {
            strcpy(path + prefix, names);
            attributes = llistxattr(path, 0, 0);
            if (attributes < 0)
                return at;
        }
        looks[at] = (struct look){
            .inode = status.st_ino, .device_number = status.st_rdev, .links = status.st_nlink,
            .size = (uint64_t)status.st_size, .blocks = (uint64_t)status.st_blocks,
            .mtime_seconds = status.st_mtim.tv_sec, .mtime_nanoseconds = status.st_mtim.tv_nsec,
            .mode = status.st_mode, .uid = status.st_uid, .gid = status.st_gid, .has_attributes = attributes > 0,
        };
    }
    return count;
}
