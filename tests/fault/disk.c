/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/disk.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/base.h"
#include "tests/unit/pass_vfs.h"

#define SECTOR     512
#define NAME_SIZE  PASS_NAME
#define FILES_MAX  8

enum kind { OP_MAKE, OP_WRITE, OP_TRUNCATE, OP_REMOVE, OP_SYNC };

struct op {
    enum kind kind;
    unsigned file;
    size_t at, len; /* OP_TRUNCATE: at is the new size */
    uint8_t *data;
};

struct image {
    bool there;
    uint8_t *bytes;
    size_t len, room;
};

struct disk {
    char dir[200];
    char names[FILES_MAX][NAME_SIZE];
    struct image start[FILES_MAX];
    unsigned files;
    struct op *ops;
    size_t count, room;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct disk *recording;

/* ---- The log; with the lock held ---- */

static void *must(void *ptr)
{
    if (!ptr)
        abort();
    return ptr;
}

static unsigned file_number(struct disk *disk, const char *name)
{
    unsigned i = 0;

    while (i < disk->files && strcmp(disk->names[i], name) != 0)
        i++;
    if (i == disk->files) {
        if (i == FILES_MAX)
            abort();
        snprintf(disk->names[disk->files++], NAME_SIZE, "%s", name);
    }
    return i;
}

static void note(const char *name, enum kind kind, size_t at, const void *data, size_t len)
{
    struct disk *disk;
    struct op *op;

    pthread_mutex_lock(&lock);
    disk = recording;
    if (disk && name) {
        if (disk->count == disk->room) {
            disk->room = disk->room ? 2 * disk->room : 256;
            disk->ops = must(realloc(disk->ops, disk->room * sizeof *disk->ops));
        }
        op = &disk->ops[disk->count++];
        *op = (struct op){.kind = kind, .file = file_number(disk, name), .at = at, .len = len};
        if (len)
            op->data = memcpy(must(malloc(len)), data, len);
    }
    pthread_mutex_unlock(&lock);
}

/* The name of a recorded file, or NULL: another directory's, or shared memory. */
static const char *recorded(const char *path)
{
    const char *base = path ? strrchr(path, '/') : NULL;
    bool ours;

    if (!base)
        return NULL;
    pthread_mutex_lock(&lock);
    ours = recording && strlen(recording->dir) == (size_t)(base - path) &&
           strncmp(recording->dir, path, (size_t)(base - path)) == 0;
    pthread_mutex_unlock(&lock);
    return ours && !strstr(base, "-shm") ? base + 1 : NULL;
}

/* ---- The VFS ---- */

static const char *name_of(sqlite3_file *f)
{
    return *pass_file(f)->name ? pass_file(f)->name : NULL;
}

static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    int rc = pass_real(f)->pMethods->xWrite(pass_real(f), from, n, at);

    if (!rc)
        note(name_of(f), OP_WRITE, (size_t)at, from, (size_t)n);
    return rc;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int rc = pass_real(f)->pMethods->xTruncate(pass_real(f), size);

    if (!rc)
        note(name_of(f), OP_TRUNCATE, (size_t)size, NULL, 0);
    return rc;
}

static int f_sync(sqlite3_file *f, int flags)
{
    (void)flags;
    note(name_of(f), OP_SYNC, 0, NULL, 0);
    return SQLITE_OK;
}

static int v_open(sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *f, int flags, int *out)
{
    const char *name = recorded(path);
    bool was_there = path && access(path, F_OK) == 0;
    int rc = pass_open(vfs, path, f, flags, out);

    if (name)
        snprintf(pass_file(f)->name, PASS_NAME, "%s", name);
    if (!rc && !was_there)
        note(name_of(f), OP_MAKE, 0, NULL, 0);
    return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    int rc = pass_below()->xDelete(pass_below(), path, 0);

    (void)vfs;
    if (!rc) {
        note(recorded(path), OP_REMOVE, 0, NULL, 0);
        if (sync_dir)
            note(recorded(path), OP_SYNC, 0, NULL, 0);
    }
    return rc;
}

void disk_install(void)
{
    static const sqlite3_vfs vfs = {.xOpen = v_open, .xDelete = v_delete};
    static const sqlite3_io_methods methods = {.xWrite = f_write, .xTruncate = f_truncate, .xSync = f_sync};

    pass_install("recording", &vfs, &methods);
}

/* ---- Recordings ---- */

static void load(struct disk *disk, const char *name)
{
    struct image *image = &disk->start[file_number(disk, name)];
    char path[600];
    FILE *file;
    long len;

    snprintf(path, sizeof path, "%s/%s", disk->dir, name);
    file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || (len = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
        abort();
    image->there = true;
    image->len = (size_t)len;
    image->bytes = must(malloc(image->len + 1));
    if (fread(image->bytes, 1, image->len, file) != image->len)
        abort();
    fclose(file);
}

struct disk *disk_record(const char *dir)
{
    struct disk *disk = must(calloc(1, sizeof *disk));
    const struct dirent *entry;
    char real_dir[4096];
    DIR *d;

    snprintf(disk->dir, sizeof disk->dir, "%s", (char *)must(realpath(dir, real_dir)));
    d = must(opendir(dir));
    while ((entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, "vtpm.db", 7) == 0 && !strstr(entry->d_name, "-shm"))
            load(disk, entry->d_name);
    }
    closedir(d);
    pthread_mutex_lock(&lock);
    recording = disk;
    pthread_mutex_unlock(&lock);
    return disk;
}

void disk_stop(struct disk *disk)
{
    pthread_mutex_lock(&lock);
    if (recording == disk)
        recording = NULL;
    pthread_mutex_unlock(&lock);
}

void disk_free(struct disk *disk)
{
    disk_stop(disk);
    for (size_t i = 0; i < disk->count; i++)
        free(disk->ops[i].data);
    for (size_t i = 0; i < FILES_MAX; i++)
        free(disk->start[i].bytes);
    free(disk->ops);
    free(disk);
}

size_t disk_ops(struct disk *disk)
{
    size_t count;

    pthread_mutex_lock(&lock);
    count = disk->count;
    pthread_mutex_unlock(&lock);
    return count;
}

/* ---- What a cut leaves ---- */

struct cutting {
    enum disk_cut cut;
    uint32_t dice;
};

static uint32_t dice(struct cutting *c, uint32_t bound)
{
    c->dice = c->dice * 1664525u + 1013904223u;
    return (c->dice >> 8) % bound;
}

/* Growth without data: zeros, or whatever was on the disk there. */
static void resize(struct image *image, size_t len, struct cutting *c)
{
    if (len > image->room) {
        image->room = 2 * len;
        image->bytes = must(realloc(image->bytes, image->room));
    }
    if (len > image->len) {
        for (size_t i = image->len; i < len; i++)
            image->bytes[i] = c && c->cut == CUT_SOME_AND_GARBAGE ? (uint8_t)dice(c, 256) : 0;
    }
    image->len = len;
}

static void put(struct image *image, const struct op *op, struct cutting *c, bool torn)
{
    if (op->at + op->len > image->len)
        resize(image, op->at + op->len, torn ? c : NULL);
    for (size_t at = op->at; at < op->at + op->len;) {
        size_t next = VT_MIN((at / SECTOR + 1) * SECTOR, op->at + op->len);

        if (!torn || dice(c, 2))
            memcpy(image->bytes + at, op->data + (at - op->at), next - at);
        at = next;
    }
}

static void apply(struct image *image, const struct op *op, struct cutting *c, bool torn)
{
    switch (op->kind) {
    case OP_MAKE:
        image->there = true;
        image->len = 0;
        return;
    case OP_WRITE:
        if (image->there)
            put(image, op, c, torn);
        return;
    case OP_TRUNCATE:
        if (image->there)
            resize(image, op->at, NULL);
        return;
    case OP_REMOVE:
        image->there = false;
        image->len = 0;
        return;
    case OP_SYNC:
        return;
    }
}

static size_t last_sync(const struct disk *disk, size_t ops, unsigned file)
{
    for (size_t i = ops; i > 0; i--) {
        if (disk->ops[i - 1].file == file && disk->ops[i - 1].kind == OP_SYNC)
            return i;
    }
    return 0;
}

/* Metadata up to a random point; data for itself. Each torn write of a file that grew may be there or not. */
static void apply_some(struct image *image, const struct disk *disk, size_t from, size_t to, unsigned file,
                       struct cutting *c)
{
    const size_t metadata = from + dice(c, (uint32_t)(to - from) + 1);
    unsigned made = 0, made_durably = 0; /* a later write is of a later file of that name */

    for (size_t i = from; i < to; i++) {
        const struct op *op = &disk->ops[i];

        if (op->file != file)
            continue;
        if (op->kind == OP_WRITE) {
            if (made == made_durably && dice(c, 4))
                apply(image, op, c, true);
            continue;
        }
        made++;
        if (i < metadata) {
            made_durably++;
            apply(image, op, c, false);
        } else if (op->kind == OP_TRUNCATE) {
            made--; /* the same file, only longer */
        }
    }
}

static void store(const struct image *image, const char *to, const char *name)
{
    char path[600];
    FILE *file;

    if (!image->there)
        return;
    snprintf(path, sizeof path, "%s/%s", to, name);
    file = must(fopen(path, "wb"));
    if ((image->len && fwrite(image->bytes, 1, image->len, file) != image->len) || fclose(file))
        abort();
    (void)chmod(path, 0600);
}

static void put_start(struct image *image, const struct image *start)
{
    resize(image, start->len, NULL);
    if (start->len)
        memcpy(image->bytes, start->bytes, start->len);
}

void disk_cut(struct disk *disk, size_t ops, enum disk_cut cut, uint32_t seed, const char *to)
{
    struct cutting c = {cut, seed};

    for (unsigned f = 0; f < disk->files; f++) {
        const size_t synced = last_sync(disk, ops, f);
        struct image image = {.there = disk->start[f].there};

        put_start(&image, &disk->start[f]);
        for (size_t i = 0; i < (cut == CUT_ALL_UNSYNCED ? ops : synced); i++) {
            if (disk->ops[i].file == f)
                apply(&image, &disk->ops[i], NULL, false);
        }
        if (cut == CUT_SOME || cut == CUT_SOME_AND_GARBAGE)
            apply_some(&image, disk, synced, ops, f, &c);
        store(&image, to, disk->names[f]);
        free(image.bytes);
    }
}
