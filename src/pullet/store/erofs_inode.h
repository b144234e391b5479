/* The extended inode of EROFS as it lies in memory of a little-endian machine; in a batch of files to be made, what is
 * known of each. Source: Linux fs/erofs/erofs_fs.h, struct erofs_inode_extended. */
#include <stdint.h>

enum { DATA_START = 4096, BLOCK_BITS = 9 }; /* of the tar in the layer file; of EROFS's blocks */

struct inode {
    uint16_t format, xattrs, mode, reserved;
    uint64_t size; /* of a directory or link found by a scan: where its data would begin in the tar */
    uint32_t start_block, number, uid, gid;
    int64_t mtime;
    uint32_t nanoseconds, links;
    uint8_t rest[16];
};
