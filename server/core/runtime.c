/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file's layout: docs/state-format.md, "Runtime file". Two things keep a write complete or without effect. Within a
 * file: the slot is void from the first byte to the last, and its seq is stored last; a process that is killed has
 * done its stores in order, so compiler order is all that is needed. When the file must grow: a new file is filled
 * beside the old one and renamed over it.
 */
#include "server/core/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"

#define MAGIC "vtpm-run"
/* In a file of version 1 the slots begin at the second page. */
#define VERSION 2u
#define PAGE 4096u
#define SLOT_ALIGN 64u
#define CAPACITY_MAX (2u * 1024 * 1024)

/* One cache line each, so that a write touches no more than its own. Host byte order: it never leaves the host. */
struct slot_head {
    _Atomic uint64_t seq;   /* 0: void; stored last */
    uint64_t len;
    uint8_t tag[CR_GCM_TAG];
    uint8_t check[16];      /* SHA-256 of slot number, seq, len, tag; cut */
    uint8_t pad[16];
};

struct file_head {
    char magic[8];
    uint32_t version;
    uint32_t slots;
    uint64_t capacity;      /* of one slot; a multiple of SLOT_ALIGN */
    uint8_t pad[40];
    struct slot_head slot[2];
};
_Static_assert(sizeof(struct slot_head) == 64, "the layout is part of the format");
_Static_assert(sizeof(struct file_head) == 192, "the layout is part of the format");

struct runtime_dir {
    int fd;
};

/* Where what lies in a file, as checked: never read from the mapping again. */
struct layout {
    size_t begin;           /* of the first slot */
    size_t capacity;        /* of each of both */
};

struct runtime_file {
    struct runtime_dir *dir;
    char name[VT_UUID_TEXT + 4];
    struct file_head *map;
    struct layout layout;
    uint64_t newest_seq;    /* 0: no slot is well-formed */
    size_t newest;          /* its number. Both as they were read when it was opened, or written since */
};

static size_t whole_pages(size_t size)
{
    return (size + PAGE - 1) / PAGE * PAGE;
}

static size_t file_size(const struct layout *layout)
{
    return whole_pages(layout->begin + 2 * layout->capacity);
}

/* Whole pages hold more than was asked for: the slots have it. */
static struct layout layout_of_size(size_t size)
{
    const size_t begin = sizeof(struct file_head);
    const size_t capacity = (size - begin) / 2 / SLOT_ALIGN * SLOT_ALIGN;

    return (struct layout){.begin = begin, .capacity = VT_MIN(capacity, (size_t)CAPACITY_MAX)};
}

static struct layout layout_for(size_t len)
{
    const size_t slot = (len + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;

    return layout_of_size(whole_pages(sizeof(struct file_head) + 2 * slot));
}

static struct layout layout_of_version_1(size_t size)
{
    return (struct layout){.begin = PAGE, .capacity = (size - PAGE) / 2};
}

static uint8_t *slot_data(struct file_head *map, const struct layout *layout, size_t k)
{
    return (uint8_t *)map + layout->begin + k * layout->capacity;
}

static void slot_check(uint8_t check[16], uint64_t k, uint64_t seq, uint64_t len, const uint8_t tag[CR_GCM_TAG])
{
    uint8_t hash[CR_SHA256_LEN];
    uint64_t numbers[3] = {k, seq, len};
    struct cr_slice slices[] = {CR_SLICE(numbers, sizeof numbers), CR_SLICE(tag, CR_GCM_TAG)};

    cr_sha256v(hash, slices, VT_COUNT(slices));
    memcpy(check, hash, 16);
}

/* ---- The directory ---- */

static int check_dir(int fd, const char *path, struct vt_why *why)
{
    struct stat st;

    if (fstat(fd, &st))
        return vt_fail(why, VT_EIO, "%s: %s", path, strerror(errno));
    if (st.st_uid != geteuid())
        return vt_fail(why, VT_EPERM, "%s: the runtime directory belongs to uid %u, not to this server's uid %u", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 022)
        return vt_fail(why, VT_EPERM, "%s: mode %04o lets others write: chmod 700 %s", path,
                       (unsigned)st.st_mode & 07777, path);
    return VT_OK;
}

int runtime_open(struct runtime_dir **dir, const char *path, struct vt_why *why)
{
    struct runtime_dir *d;
    int fd, err;

    *dir = NULL;
    if (mkdir(path, 0700) && errno != EEXIST)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : VT_EIO, "%s: the runtime directory cannot be made: %s",
                       path, strerror(errno));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return vt_fail(why, VT_EIO, "%s: the runtime directory cannot be opened: %s", path, strerror(errno));
    err = check_dir(fd, path, why);
    d = err ? NULL : VT_NEW(struct runtime_dir);
    if (!d) {
        close(fd);
        return err ? err : vt_fail(why, VT_ENOMEM, "out of memory");
    }
    d->fd = fd;
    *dir = d;
    return VT_OK;
}

void runtime_close(struct runtime_dir *dir)
{
    if (!dir)
        return;
    close(dir->fd);
    vt_free(dir);
}

/* VT_ENOTFOUND: none, or none that we made whole. */
static int read_id(const struct runtime_dir *dir, uint8_t id[RUNTIME_ID])
{
    uint8_t bytes[RUNTIME_ID + 1];
    ssize_t n;
    int fd = openat(dir->fd, "id", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? VT_ENOTFOUND : VT_EIO;
    n = read(fd, bytes, sizeof bytes);
    close(fd);
    if (n < 0)
        return VT_EIO;
    if (n != RUNTIME_ID)
        return VT_ENOTFOUND;
    memcpy(id, bytes, RUNTIME_ID);
    return VT_OK;
}

static int make_id(const struct runtime_dir *dir, uint8_t id[RUNTIME_ID])
{
    int fd, err = cr_os_random(id, RUNTIME_ID);

    if (err)
        return err;
    fd = openat(dir->fd, "id.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ENOSPC || errno == EDQUOT ? VT_ENOSPC : VT_EIO;
    if (write(fd, id, RUNTIME_ID) != RUNTIME_ID)
        err = VT_ENOSPC;
    close(fd);
    if (err)
        return err;
    return renameat(dir->fd, "id.new", dir->fd, "id") ? VT_EIO : VT_OK;
}

int runtime_id(struct runtime_dir *dir, uint8_t id[RUNTIME_ID])
{
    int err = read_id(dir, id);

    return err == VT_ENOTFOUND ? make_id(dir, id) : err;
}

/* ---- Files ---- */

/* Of a call on a file: a disk that takes nothing now is told from one that fails. */
static int errno_err(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return VT_ENOSPC;
    case EROFS:
        return VT_EUNAVAILABLE;
    default:
        return VT_EIO;
    }
}

static void file_name(char out[VT_UUID_TEXT + 4], const struct vt_uuid *uuid)
{
    vt_uuid_text(out, uuid);
    memcpy(out + VT_UUID_TEXT - 1, ".run", 5);
}

/* Space for every page first: a page that a full tmpfs cannot give would be a SIGBUS later. */
static int allocate(int fd, size_t size)
{
    int e;

    do
        e = posix_fallocate(fd, 0, (off_t)size);
    while (e == EINTR);
    if (!e)
        return VT_OK;
    return e == EFBIG ? VT_ENOSPC : errno_err(e);
}

static int map_fd(int fd, size_t size, struct file_head **map)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (at == MAP_FAILED)
        return errno == ENOMEM ? VT_ENOMEM : VT_EIO;
    *map = at;
    return VT_OK;
}

/* A new file under its temporary name, mapped, without records. */
static int make_map(struct runtime_dir *dir, const char *temporary, const struct layout *layout, struct file_head **map)
{
    int fd, err;

    if (unlinkat(dir->fd, temporary, 0) && errno != ENOENT)
        return errno_err(errno);
    fd = openat(dir->fd, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno_err(errno);
    err = allocate(fd, file_size(layout));
    if (!err)
        err = map_fd(fd, file_size(layout), map);
    close(fd);
    if (err) {
        unlinkat(dir->fd, temporary, 0);
        return err;
    }
    memcpy((*map)->magic, MAGIC, sizeof (*map)->magic);
    (*map)->version = VERSION;
    (*map)->slots = 2;
    (*map)->capacity = layout->capacity;
    return VT_OK;
}

static void temporary_name(char out[VT_UUID_TEXT + 4], const char *name)
{
    memcpy(out, name, VT_UUID_TEXT + 4);
    memcpy(out + VT_UUID_TEXT - 1, ".new", 5);
}

static void find_newest(struct runtime_file *file);

/* Gives the new file its name; from here on it is the one. */
static int publish(struct runtime_file *file, const char *temporary, struct file_head *map, const struct layout *layout)
{
    if (renameat(file->dir->fd, temporary, file->dir->fd, file->name)) {
        int err = errno_err(errno);
        munmap(map, file_size(layout));
        unlinkat(file->dir->fd, temporary, 0);
        return err;
    }
    if (file->map)
        munmap(file->map, file_size(&file->layout));
    file->map = map;
    file->layout = *layout;
    find_newest(file);
    return VT_OK;
}

static int make_file(struct runtime_file *file)
{
    const struct layout one_page = layout_for(0);
    char temporary[VT_UUID_TEXT + 4];
    struct file_head *map;
    int err;

    temporary_name(temporary, file->name);
    err = make_map(file->dir, temporary, &one_page, &map);
    return err ? err : publish(file, temporary, map, &one_page);
}

/* size: whole pages, at least one. */
static int check_head(const struct file_head *map, size_t size, struct layout *layout)
{
    const uint32_t version = map->version;

    if (memcmp(map->magic, MAGIC, sizeof map->magic) != 0 || !version || version > VERSION || map->slots != 2)
        return VT_EDAMAGED;
    *layout = version == 1 ? layout_of_version_1(size) : layout_of_size(size);
    if (!layout->capacity || map->capacity != layout->capacity || size != file_size(layout))
        return VT_EDAMAGED;
    return VT_OK;
}

static int check_file(int fd, size_t *size)
{
    struct stat st;

    if (fstat(fd, &st))
        return VT_EIO;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return VT_EPERM;
    if (st.st_size < (off_t)PAGE || st.st_size > (off_t)(PAGE + 2 * CAPACITY_MAX) || st.st_size % PAGE)
        return VT_EDAMAGED;
    *size = (size_t)st.st_size;
    return allocate(fd, *size);
}

static int open_file(struct runtime_file *file)
{
    struct file_head *map;
    size_t size = 0;
    int err;
    int fd = openat(file->dir->fd, file->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? VT_ENOTFOUND : errno_err(errno);
    err = check_file(fd, &size);
    if (!err)
        err = map_fd(fd, size, &map);
    close(fd);
    if (err)
        return err;
    err = check_head(map, size, &file->layout);
    if (err) {
        munmap(map, size);
        return err;
    }
    file->map = map;
    find_newest(file);
    return VT_OK;
}

int runtime_file_open(struct runtime_file **out, struct runtime_dir *dir, const struct vt_uuid *uuid, bool create)
{
    struct runtime_file *file = VT_NEW(struct runtime_file);
    int err;

    *out = NULL;
    if (!file)
        return VT_ENOMEM;
    file->dir = dir;
    file_name(file->name, uuid);
    err = open_file(file);
    /* A file that is not one of ours holds nothing: it is replaced, not written into. */
    if (create && (err == VT_ENOTFOUND || err == VT_EDAMAGED))
        err = make_file(file);
    if (err) {
        vt_free(file);
        return err;
    }
    *out = file;
    return VT_OK;
}

void runtime_file_close(struct runtime_file *file)
{
    if (!file)
        return;
    munmap(file->map, file_size(&file->layout));
    vt_free(file);
}

int runtime_file_remove(struct runtime_dir *dir, const struct vt_uuid *uuid)
{
    char name[VT_UUID_TEXT + 4], temporary[VT_UUID_TEXT + 4];

    file_name(name, uuid);
    temporary_name(temporary, name);
    if (unlinkat(dir->fd, temporary, 0) && errno != ENOENT)
        return VT_EIO;
    if (unlinkat(dir->fd, name, 0))
        return errno == ENOENT ? VT_ENOTFOUND : VT_EIO;
    return VT_OK;
}

/* ---- Slots ---- */

/* False: void, half written, or not what its check says. */
static bool slot_get(const struct runtime_file *file, size_t k, struct runtime_slot *slot)
{
    struct slot_head *head = &file->map->slot[k];
    uint8_t check[16];

    slot->seq = atomic_load_explicit(&head->seq, memory_order_acquire);
    slot->len = head->len;
    memcpy(slot->tag, head->tag, sizeof slot->tag);
    slot->data = slot_data(file->map, &file->layout, k);
    if (!slot->seq || slot->len > file->layout.capacity)
        return false;
    slot_check(check, k, slot->seq, slot->len, slot->tag);
    return memcmp(check, head->check, sizeof check) == 0;
}

size_t runtime_read(const struct runtime_file *file, struct runtime_slot slots[2])
{
    struct runtime_slot second;
    size_t count = slot_get(file, 0, &slots[0]);

    if (!slot_get(file, 1, &second))
        return count;
    if (count && second.seq > slots[0].seq) {
        slots[1] = slots[0];
        slots[0] = second;
    } else {
        slots[count] = second;
    }
    return count + 1;
}

/* Where a slot of runtime_read lies. */
static size_t slot_number(const struct runtime_file *file, const struct runtime_slot *slot)
{
    return slot->data == slot_data(file->map, &file->layout, 0) ? 0 : 1;
}

static void find_newest(struct runtime_file *file)
{
    struct runtime_slot slots[2];
    const size_t count = runtime_read(file, slots);

    file->newest_seq = count ? slots[0].seq : 0;
    file->newest = count ? slot_number(file, &slots[0]) : 1;
}

static void slot_void(struct file_head *map, size_t k)
{
    atomic_store_explicit(&map->slot[k].seq, 0, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Its bytes are there. */
static void slot_count(struct file_head *map, size_t k, const struct runtime_slot *slot)
{
    struct slot_head *head = &map->slot[k];

    head->len = slot->len;
    memcpy(head->tag, slot->tag, sizeof head->tag);
    slot_check(head->check, k, slot->seq, slot->len, slot->tag);
    atomic_thread_fence(memory_order_seq_cst);
    atomic_store_explicit(&head->seq, slot->seq, memory_order_release);
}

static void slot_put(struct file_head *map, const struct layout *layout, size_t k, const struct runtime_slot *slot)
{
    slot_void(map, k);
    if (slot->len)
        memcpy(slot_data(map, layout, k), slot->data, slot->len);
    slot_count(map, k, slot);
}

/* A bigger file with the newest record so far and this one. */
static int grow(struct runtime_file *file, const struct runtime_slot *newest, const struct runtime_slot *slot)
{
    const struct layout layout = layout_for(VT_MIN(slot->len + slot->len / 4, (size_t)CAPACITY_MAX));
    char temporary[VT_UUID_TEXT + 4];
    struct file_head *map;
    int err;

    temporary_name(temporary, file->name);
    err = make_map(file->dir, temporary, &layout, &map);
    if (err)
        return err;
    if (newest && newest->seq < slot->seq)
        slot_put(map, &layout, 0, newest);
    slot_put(map, &layout, 1, slot);
    return publish(file, temporary, map, &layout);
}

uint8_t *runtime_room(struct runtime_file *file, uint64_t seq, size_t len)
{
    const size_t target = 1 - file->newest;

    if (!seq || seq < file->newest_seq || len > file->layout.capacity)
        return NULL;
    slot_void(file->map, target);
    return slot_data(file->map, &file->layout, target);
}

void runtime_put(struct runtime_file *file, uint64_t seq, const uint8_t tag[CR_GCM_TAG], size_t len)
{
    const size_t target = 1 - file->newest;
    struct runtime_slot slot = {.seq = seq, .len = len};

    memcpy(slot.tag, tag, sizeof slot.tag);
    slot_count(file->map, target, &slot);
    /* Written once more under its number: the first one goes when the second one is there. */
    if (file->newest_seq == seq)
        slot_void(file->map, file->newest);
    file->newest = target;
    file->newest_seq = seq;
}

int runtime_write(struct runtime_file *file, uint64_t seq, const uint8_t tag[CR_GCM_TAG], const void *data, size_t len)
{
    struct runtime_slot slots[2], slot = {.seq = seq, .data = data, .len = len};
    uint8_t *room;

    if (!seq)
        return VT_EUSAGE;
    if (seq < file->newest_seq)
        return VT_ECONFLICT;
    if (len > CAPACITY_MAX)
        return VT_ETOOBIG;
    room = runtime_room(file, seq, len);
    if (!room) {
        memcpy(slot.tag, tag, sizeof slot.tag);
        return grow(file, runtime_read(file, slots) ? &slots[0] : NULL, &slot);
    }
    if (len)
        memcpy(room, data, len);
    runtime_put(file, seq, tag, len);
    return VT_OK;
}

void runtime_drop(struct runtime_file *file, uint64_t seq)
{
    struct runtime_slot slot;

    for (size_t k = 0; k < 2; k++)
        if (slot_get(file, k, &slot) && slot.seq == seq)
            slot_void(file->map, k);
    find_newest(file);
}
