/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/secret.h"

#define SLOTS     2
#define SLOT_SIZE 8192 /* whole pages: a write that a signal cuts short ends at a page of its own slot */

/* One slot, as it is in the file: written and read on one machine by one program, so in its own byte order. */
struct head {
    char magic[8];
    uint64_t sum;    /* of all that follows, the command included */
    uint64_t serial; /* the higher one counts */
    uint32_t kind, len;
    struct journal_ring ring;
    uint64_t last_n;
    uint8_t stream[MESSAGE_STREAM];
    uint64_t n;
    uint8_t before_stream[MESSAGE_STREAM];
    uint64_t before_n;
    uint32_t locality, print_len;
    uint64_t print_sum;
};

struct image {
    struct head head;
    uint8_t command[MESSAGE_COMMAND_MAX];
};

_Static_assert(sizeof(struct head) == 152, "no padding: it would be written unset");
_Static_assert(sizeof(struct image) <= SLOT_SIZE, "an entry fits its slot");

static const char magic[8] = {'v', 't', 'p', 'm', 'j', 'n', 'l', '1'};

struct journal {
    int fd;
    char *path;
    struct journal_ring ring;
    unsigned next;           /* the slot to write: never the newest */
    uint64_t serial;         /* of the newest */
    size_t used[SLOTS];      /* bytes that may hold a command of before: overwritten with the next one */
    struct image image;      /* what was read, then what is written */
};

/* ---- Slots ---- */

static uint64_t sum_of(const struct image *image)
{
    const size_t from = offsetof(struct head, serial);

    return tpmif_print_of((const uint8_t *)image + from, sizeof image->head - from + image->head.len).sum;
}

static bool is_whole(const struct image *image, size_t len)
{
    return len >= sizeof image->head && memcmp(image->head.magic, magic, sizeof magic) == 0 &&
           image->head.len <= sizeof image->command && len >= sizeof image->head + image->head.len &&
           (image->head.kind == JOURNAL_SENT || image->head.kind == JOURNAL_DELIVERED) &&
           image->head.sum == sum_of(image);
}

static int read_slot(const struct journal *journal, unsigned slot, struct image *image, bool *whole, struct vt_why *why)
{
    ssize_t n;

    do
        n = pread(journal->fd, image, sizeof *image, (off_t)slot * SLOT_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return vt_fail(why, VT_EIO, "%s: %s", journal->path, strerror(errno));
    *whole = is_whole(image, (size_t)n);
    return VT_OK;
}

/* The newest whole slot into journal->image; its kind is JOURNAL_NONE if there is none. */
static int read_newest(struct journal *journal, struct vt_why *why)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        struct image image = {.head = {.kind = JOURNAL_NONE}};
        bool whole = false;
        int err = read_slot(journal, slot, &image, &whole, why);

        journal->used[slot] = sizeof image;
        if (!err && whole && image.head.serial > journal->serial) {
            journal->image = image;
            journal->serial = image.head.serial;
            journal->next = (slot + 1) % SLOTS;
        }
        vt_wipe(&image, sizeof image);
        if (err)
            return err;
    }
    return VT_OK;
}

static void entry_of(const struct journal *journal, struct journal_entry *entry)
{
    const struct head *head = &journal->image.head;

    *entry = (struct journal_entry){.kind = JOURNAL_NONE};
    if (head->kind == JOURNAL_NONE || memcmp(&head->ring, &journal->ring, sizeof head->ring) != 0)
        return;
    entry->kind = (enum journal_kind)head->kind;
    entry->last_n = head->last_n;
    entry->print = (struct tpmif_print){head->print_len, head->print_sum};
    entry->mark = (struct relay_mark){.n = head->n, .before_n = head->before_n, .locality = head->locality};
    memcpy(entry->mark.stream, head->stream, sizeof entry->mark.stream);
    memcpy(entry->mark.before_stream, head->before_stream, sizeof entry->mark.before_stream);
    entry->mark.command = journal->image.command;
    entry->mark.len = head->len;
}

/*
 * One pwrite; what an older, longer command left behind in the slot is covered with zeros. Not inlined: where GCC 14
 * sees the image's first field being set, it takes that for all there is to write (-Wstringop-overread).
 */
__attribute__((noinline)) static int write_slot(struct journal *journal)
{
    const size_t len = sizeof journal->image.head + journal->image.head.len;
    const size_t whole = VT_MAX(len, journal->used[journal->next]);
    uint8_t *const image = (uint8_t *)&journal->image;
    ssize_t n;

    memset(image + len, 0, whole - len);
    do
        n = pwrite(journal->fd, image, whole, (off_t)journal->next * SLOT_SIZE);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)whole)
        return n < 0 && errno == ENOSPC ? VT_ENOSPC : VT_EIO;
    journal->used[journal->next] = len;
    journal->serial = journal->image.head.serial;
    journal->next = (journal->next + 1) % SLOTS;
    return VT_OK;
}

static int write_entry(struct journal *journal, enum journal_kind kind, uint64_t last_n, const struct relay_mark *mark,
                       const struct tpmif_print *print)
{
    struct head *head = &journal->image.head;

    if (mark->len > sizeof journal->image.command)
        return VT_EUSAGE;
    /* The command may be the one that entry_of gave out. */
    if (mark->len)
        memmove(journal->image.command, mark->command, mark->len);
    *head = (struct head){
        .serial = journal->serial + 1,
        .kind = kind,
        .len = (uint32_t)mark->len,
        .ring = journal->ring,
        .last_n = last_n,
        .n = mark->n,
        .before_n = mark->before_n,
        .locality = mark->locality,
        .print_len = print->len,
        .print_sum = print->sum,
    };
    memcpy(head->magic, magic, sizeof magic);
    memcpy(head->stream, mark->stream, sizeof head->stream);
    memcpy(head->before_stream, mark->before_stream, sizeof head->before_stream);
    head->sum = sum_of(&journal->image);
    return write_slot(journal);
}

int journal_sent(struct journal *journal, const struct relay_mark *mark)
{
    return write_entry(journal, JOURNAL_SENT, mark->n - 1, mark, &(struct tpmif_print){0, 0});
}

int journal_delivered(struct journal *journal, const struct relay_position *position, const struct tpmif_print *print)
{
    return write_entry(journal, JOURNAL_DELIVERED, position->last_n, &position->mark, print);
}

/* ---- Life ---- */

static int open_file(struct journal *journal, struct vt_why *why)
{
    struct stat st;
    int err;

    journal->fd = open(journal->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (journal->fd < 0)
        return vt_fail(why, VT_EIO, "%s: %s", journal->path, strerror(errno));
    if (fstat(journal->fd, &st))
        return vt_fail(why, VT_EIO, "%s: %s", journal->path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_mode & 077)
        return vt_fail(why, VT_EPERM, "%s: not a regular file of mode 0600: remove it", journal->path);
    if (flock(journal->fd, LOCK_EX | LOCK_NB))
        return vt_fail(why, VT_ECONFLICT, "%s: another vtpm-shim serves this ring", journal->path);
    /* Now, and not when a guest waits: later writes need no room. */
    err = posix_fallocate(journal->fd, 0, (off_t)SLOTS * SLOT_SIZE);
    if (err)
        return vt_fail(why, err == ENOSPC ? VT_ENOSPC : VT_EIO, "%s: %s", journal->path, strerror(err));
    return VT_OK;
}

int journal_open(struct journal **journal_out, const char *path, const struct journal_ring *ring, struct journal_entry *entry,
                 struct vt_why *why)
{
    struct journal *journal = VT_NEW(struct journal);
    int err;

    if (!journal)
        return vt_fail(why, VT_ENOMEM, "%s: out of memory", path);
    journal->fd = -1;
    journal->ring = *ring;
    journal->path = vt_strdup(path);
    err = journal->path ? open_file(journal, why) : vt_fail(why, VT_ENOMEM, "%s: out of memory", path);
    if (!err)
        err = read_newest(journal, why);
    if (err) {
        journal_close(journal);
        return err;
    }
    entry_of(journal, entry);
    *journal_out = journal;
    return VT_OK;
}

void journal_set_ring(struct journal *journal, const struct journal_ring *ring)
{
    journal->ring = *ring;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    vt_free(journal->path);
    vt_free_wiped(journal, sizeof *journal);
}

void journal_remove(struct journal *journal)
{
    static const uint8_t zeros[SLOT_SIZE];

    if (!journal)
        return;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (pwrite(journal->fd, zeros, sizeof zeros, (off_t)slot * SLOT_SIZE) < 0)
            break;
    (void)unlink(journal->path);
    journal_close(journal);
}

/* ---- After a restart ---- */

/* The page still has the command of the mark, or the response to it that was being written over it, tag first. */
static bool is_of(const struct relay_mark *mark, const struct tpmif *ring, const struct tpmif_view *view)
{
    if (!view->fits || (view->state != TPMIF_SUBMIT && view->state != TPMIF_CANCEL))
        return false;
    return view->is_response || (ring->len == mark->len && memcmp(ring->command, mark->command, mark->len) == 0);
}

enum journal_plan journal_decide(const struct journal_entry *entry, const struct tpmif *ring, const struct tpmif_view *view)
{
    const bool is_waiting = view->state == TPMIF_SUBMIT || view->state == TPMIF_CANCEL;

    switch (entry->kind) {
    case JOURNAL_SENT:
        return is_of(&entry->mark, ring, view) ? JOURNAL_RESEND : JOURNAL_FRESH;
    case JOURNAL_DELIVERED:
        if (is_waiting && view->fits && view->print.len == entry->print.len && view->print.sum == entry->print.sum)
            return JOURNAL_FINISH;
        return JOURNAL_NEXT;
    case JOURNAL_NONE:
        break;
    }
    return JOURNAL_FRESH;
}
