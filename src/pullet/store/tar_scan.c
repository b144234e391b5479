/* Reads the headers of plain files, directories and symbolic links out of a piece of a tar, without the interpreter.
 *
 * The rules for what is plain, and what its fields mean, are those of the short way in tar_stream.py, which is the
 * reference: whatever is not exactly as tar programs usually write it ends the scan, and Python looks at that header.
 * Nothing is allocated here; every write is checked against the room that the caller gave.
 *
 * Source: POSIX.1-2017 pax, "ustar Interchange Format".
 */
#include <string.h>

#include "erofs_inode.h"

enum { BLOCK = 512, MAX_NAME = 255, MAX_PATH = 256 };
enum { FILES = 0, DIRECTORY = 1, LINK = 2 };
enum { NAME_AT = 0, NAME_BYTES = 100, MODE_AT = 100, UID_AT = 108, GID_AT = 116, SIZE_AT = 124, MTIME_AT = 136,
       SUM_AT = 148, KIND_AT = 156, TARGET_AT = 157, TARGET_BYTES = 100, MAGIC_AT = 257, PREFIX_AT = 345, PREFIX_BYTES = 155 };

struct run {
    uint32_t kind;
    uint32_t count;      /* inodes */
    uint32_t text_bytes; /* directory NUL name NUL name …; a directory's path; a link's path NUL target */
};

struct scan {
    uint64_t start;    /* of the piece in the tar */
    uint64_t position; /* of the next header in the piece: in and out */
    uint64_t stored;   /* size of the last file: in and out */
    uint32_t number;   /* of the first file's inode */
    uint32_t left;     /* entries allowed */
    uint32_t max_path;
    uint32_t max_inodes, max_runs, max_text;
    uint32_t inodes, runs, text; /* out: how many, how many, bytes */
};

/* Octal digits, blanks before them, blanks and NULs behind them; anything else is for Python. */
static int octal(const uint8_t *field, int length, uint64_t *value) {
    int at = 0;
    uint64_t sum = 0;
    while (at < length && field[at] == ' ')
        at++;
    int first = at;
    while (at < length && field[at] >= '0' && field[at] <= '7')
        sum = sum << 3 | (uint64_t)(field[at++] - '0');
    if (at == first || (length == 12 && at == length))
        return 0;
    for (; at < length; at++)
        if (field[at] != ' ' && field[at] != 0)
            return 0;
    *value = sum;
    return 1;
}

/* Whether the header's checksum is right, summed as unsigned bytes. */
static int checksum_matches(const uint8_t *header) {
    uint64_t stored, sum = 8 * ' ';
    for (int at = 0; at < BLOCK; at++)
        sum += at >= SUM_AT && at < SUM_AT + 8 ? 0 : header[at];
    return octal(header + SUM_AT, 8, &stored) && stored == sum;
}

/* The length of a NUL-padded text, -1 if anything follows the first NUL. */
static int padded(const uint8_t *field, int length) {
    int used = (int)strnlen((const char *)field, (size_t)length);
    for (int at = used; at < length; at++)
        if (field[at])
            return -1;
    return used;
}

/* The clean path of a header in `path` (MAX_PATH bytes); its length, or 0 if Python should look. */
static int path_of(const uint8_t *header, int is_directory, uint8_t *path) {
    int name = padded(header + NAME_AT, NAME_BYTES), length = 0;
    if (name <= 0)
        return 0;
    if (header[PREFIX_AT] && !memcmp(header + MAGIC_AT, "ustar\0" "00", 8)) {
        length = padded(header + PREFIX_AT, PREFIX_BYTES);
        if (length <= 0)
            return 0;
        memcpy(path, header + PREFIX_AT, (size_t)length);
        path[length++] = '/';
    }
    memcpy(path + length, header + NAME_AT, (size_t)name);
    length += name;
    if (length >= 2 && path[0] == '.' && path[1] == '/')
        memmove(path, path + 2, (size_t)(length -= 2));
    if (is_directory && length && path[length - 1] == '/')
        length--;
    for (int at = 0, first = 0; at <= length; at++)
        if (at == length || path[at] == '/') { /* a part ends */
            int part = at - first;
            if (!part || (path[first] == '.' && (part == 1 || (part == 2 && path[first + 1] == '.'))))
                return 0;
            first = at + 1;
        }
    return length;
}

/* Add to the text of a run; there is room for two paths and two NULs. */
static void put(struct scan *s, struct run *run, uint8_t *text, const uint8_t *bytes, int length) {
    memcpy(text + s->text, bytes, (size_t)length);
    s->text += (uint32_t)length;
    run->text_bytes += (uint32_t)length;
}

/* Take headers from the piece until one is not plain, the piece ends or there is no more room. */
void tar_scan(struct scan *s, const uint8_t *piece, uint64_t length, struct inode *inodes, struct run *runs,
              uint8_t *text) {
    uint8_t path[MAX_PATH];
    const uint8_t *above = 0; /* the directory of the run being filled, in `text` */
    int above_length = -1;
    struct run *open = 0;
    s->inodes = s->runs = s->text = 0;
    while (s->position <= length && length - s->position >= BLOCK && s->left) {
        const uint8_t *header = piece + s->position;
        int kind = header[KIND_AT] == '0' ? FILES : header[KIND_AT] == '5' ? DIRECTORY : LINK;
        uint64_t mode, uid, gid, size, mtime;
        if ((kind == LINK && header[KIND_AT] != '2') || header[MAGIC_AT] != 'u')
            return;
        int used = path_of(header, kind == DIRECTORY, path), target = 0;
        if (!used || (uint32_t)used > s->max_path)
            return;
        if (!octal(header + MODE_AT, 8, &mode) || !octal(header + UID_AT, 8, &uid) || !octal(header + GID_AT, 8, &gid) ||
            !octal(header + SIZE_AT, 12, &size) || !octal(header + MTIME_AT, 12, &mtime) || (kind != FILES && size))
            return;
        if (kind == LINK && ((target = padded(header + TARGET_AT, TARGET_BYTES)) <= 0 || !checksum_matches(header)))
            return;
        int slash = used - 1;
        while (slash >= 0 && path[slash] != '/')
            slash--;
        const uint8_t *name = path + slash + 1;
        int name_length = used - slash - 1, up = slash < 0 ? 0 : slash;
        if (name_length > MAX_NAME || (kind == FILES && name_length >= 4 && !memcmp(name, ".wh.", 4)))
            return;
        if (s->inodes == s->max_inodes || s->max_text - s->text < 2 * MAX_PATH + 2)
            return;
        if (kind != FILES || !open || above_length != up || memcmp(above, path, (size_t)up)) {
            if (s->runs == s->max_runs)
                return;
            open = &runs[s->runs++];
            *open = (struct run){.kind = (uint32_t)kind};
            above_length = kind == FILES ? up : used;
            above = text + s->text;
            put(s, open, text, path, above_length);
        }
        struct inode *inode = &inodes[s->inodes++];
        open->count++;
        s->left--;
        s->position += BLOCK;
        s->stored = kind == DIRECTORY ? s->stored : size;
        *inode = (struct inode){
            .format = 1, .mode = (uint16_t)(mode & 07777), .uid = (uint32_t)uid, .gid = (uint32_t)gid,
            .mtime = (int64_t)mtime, .links = 1,
        };
        if (kind != FILES) {
            inode->size = s->start + s->position;
            if (kind == LINK) {
                put(s, open, text, (const uint8_t *)"", 1);
                put(s, open, text, header + TARGET_AT, target);
            }
            open = 0;
            continue;
        }
        put(s, open, text, (const uint8_t *)"", 1);
        put(s, open, text, name, name_length);
        inode->mode |= 0100000;
        inode->size = size;
        inode->start_block = size ? (uint32_t)((DATA_START + s->start + s->position) >> BLOCK_BITS) : 0;
        inode->number = s->number++;
        s->position += (size + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
    }
}
