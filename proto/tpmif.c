/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/tpmif.h"

#include "server/base/secret.h"
#include "server/wire/return_codes.h"

/* Offsets of the shared structure's fields, in words of 4 bytes; the second word has four fields of a byte. */
#define WORD_LENGTH 0
#define WORD_FIELDS 1
#define AT_STATE    4 /* the only byte that we store alone */

#define REQUEST_MIN      10u  /* tag, size, ordinal: Part 3, 2.2 */
#define LOCALITIES       0x0fu
#define TAG_RSP_COMMAND  0xc4 /* to 0xc6: Part 2, 6 */
#define TAG_RSP_LAST     0xc6

/* ---- The only accesses to the page ---- */

#ifdef TPMIF_HOOK
/* Fuzzing: the other side of the page gets its turn before each of our accesses. */
void tpmif_hook(volatile uint32_t *page);
#else
static inline void tpmif_hook(volatile uint32_t *page VT_UNUSED)
{
}
#endif

static uint32_t load(const struct tpmif *ring, uint32_t word)
{
    tpmif_hook(ring->page);
    return __atomic_load_n(&ring->page[word], __ATOMIC_ACQUIRE);
}

static void store(const struct tpmif *ring, uint32_t word, uint32_t value)
{
    tpmif_hook(ring->page);
    __atomic_store_n(&ring->page[word], value, __ATOMIC_RELAXED);
}

/* What was stored before is there when the guest sees the state. */
static void store_state(const struct tpmif *ring, enum tpmif_state state)
{
    volatile uint8_t *at = (volatile uint8_t *)ring->page + AT_STATE;

    tpmif_hook(ring->page);
    __atomic_store_n(at, (uint8_t)state, __ATOMIC_RELEASE);
}

/* The guest's data from offset on into private memory. The last word may hold up to 3 bytes that nobody wants. */
static void copy_in(struct tpmif *ring, uint32_t offset, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 4) {
        uint32_t word = load(ring, (offset + at) / 4);
        memcpy(ring->command + at, &word, VT_MIN(4, len - at));
    }
}

/*
 * In ascending order, a word at a time: the first one carries the tag, so that a page in which we stopped half-way
 * is known by it (docs/record-and-recovery.md, "A shim's own death"). The last word is filled up with zeros.
 */
static void copy_out(const struct tpmif *ring, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 4) {
        uint32_t word = 0;
        memcpy(&word, bytes + at, VT_MIN(4, len - at));
        store(ring, (ring->offset + at) / 4, word);
    }
}

/* ---- Bounds ---- */

/* The head of the page, each field read once. Whole words: the layout is that of little-endian machines. */
struct head {
    uint32_t length;
    enum tpmif_state state;
    uint32_t locality;
    uint32_t offset; /* of the data: 8 to 1028, a multiple of 4 */
    bool fits;       /* a request of this length ends within the page */
};

/* The state first: what it announces was written before it. */
static struct head look(const struct tpmif *ring)
{
    const uint32_t fields = load(ring, WORD_FIELDS);
    const uint32_t state = fields & 0xff;
    struct head head = {
        .length = load(ring, WORD_LENGTH),
        .state = state < TPMIF_ODD ? (enum tpmif_state)state : TPMIF_ODD,
        .locality = fields >> 8 & 0xff,
        .offset = TPMIF_HEADER + 4 * (fields >> 24),
    };

    /* The only bounds: extra pages are not mapped, so that their references only shorten this one. */
    head.fits = head.length >= REQUEST_MIN && head.length <= TPMIF_PAGE - head.offset;
    return head;
}

/* ---- Answers ---- */

struct tpmif_print tpmif_print_of(const void *bytes, size_t len)
{
    struct tpmif_print print = {.len = (uint32_t)len, .sum = 0xcbf29ce484222325u}; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        print.sum = (print.sum ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    return print;
}

static struct tpmif_print put_code(struct tpmif *ring, tpm_rc code)
{
    const uint8_t bytes[10] = {0x00, TAG_RSP_COMMAND, 0, 0, 0, 10, 0, 0, (uint8_t)(code >> 8), (uint8_t)code};

    return tpmif_put(ring, bytes, sizeof bytes);
}

struct tpmif_print tpmif_put(struct tpmif *ring, const void *response, size_t len)
{
    if (len < REQUEST_MIN || len > TPMIF_PAGE - ring->offset)
        return put_code(ring, TPM_FAIL);
    copy_out(ring, response, (uint32_t)len);
    store(ring, WORD_LENGTH, (uint32_t)len);
    return tpmif_print_of(response, len);
}

void tpmif_finish(struct tpmif *ring)
{
    ring->busy = ring->cancelled = false;
    vt_wipe(ring->command, ring->len);
    ring->len = 0;
    store_state(ring, TPMIF_FINISH);
}

static enum tpmif_event refuse(struct tpmif *ring, const struct head *head, tpm_rc code)
{
    ring->offset = head->offset;
    (void)put_code(ring, code);
    tpmif_finish(ring);
    return TPMIF_ANSWERED;
}

/* ---- Requests ---- */

static bool has_response(const struct tpmif *ring)
{
    return ring->command[0] == 0 && ring->command[1] >= TAG_RSP_COMMAND && ring->command[1] <= TAG_RSP_LAST;
}

static enum tpmif_event take(struct tpmif *ring, const struct head *head, bool was_found)
{
    if (!head->fits)
        return refuse(ring, head, TPM_BAD_PARAM_SIZE);
    if (head->locality > 7 || !(ring->localities >> head->locality & 1))
        return refuse(ring, head, TPM_BAD_LOCALITY);
    copy_in(ring, head->offset, head->length);
    if (was_found && has_response(ring))
        return refuse(ring, head, TPM_RETRY);
    ring->busy = true;
    ring->offset = head->offset;
    ring->locality = head->locality;
    ring->len = head->length;
    return TPMIF_COMMAND;
}

static enum tpmif_event poll_busy(struct tpmif *ring, const struct head *head)
{
    if (head->state != TPMIF_CANCEL || ring->cancelled)
        return TPMIF_NOTHING;
    ring->cancelled = true;
    return TPMIF_CANCELLED;
}

enum tpmif_event tpmif_poll(struct tpmif *ring)
{
    const struct head head = look(ring);
    const bool was_found = ring->was_found;

    ring->was_found = false;
    if (ring->busy)
        return poll_busy(ring, &head);
    if (head.state == TPMIF_SUBMIT)
        return take(ring, &head, was_found);
    if (head.state != TPMIF_CANCEL)
        return TPMIF_NOTHING;
    store_state(ring, TPMIF_IDLE);
    return TPMIF_ANSWERED;
}

/* ---- After a restart ---- */

void tpmif_look(struct tpmif *ring, struct tpmif_view *view)
{
    const struct head head = look(ring);

    *view = (struct tpmif_view){.state = head.state, .fits = head.fits, .offset = head.offset, .locality = head.locality};
    ring->was_found = true;
    if (!head.fits)
        return;
    copy_in(ring, head.offset, head.length);
    ring->len = head.length;
    view->is_response = has_response(ring);
    view->print = tpmif_print_of(ring->command, ring->len);
}

bool tpmif_restore(struct tpmif *ring, const struct tpmif_view *view, uint32_t locality, const void *command, size_t len)
{
    if (len < REQUEST_MIN || len > TPMIF_PAGE - view->offset)
        return false;
    memmove(ring->command, command, len);
    ring->busy = true;
    ring->offset = view->offset;
    ring->locality = locality;
    ring->len = len;
    return true;
}

/* ---- Life ---- */

void tpmif_init(struct tpmif *ring, volatile void *page, uint8_t localities)
{
    *ring = (struct tpmif){.page = page, .localities = localities & LOCALITIES, .offset = TPMIF_HEADER};
}

void tpmif_wipe(struct tpmif *ring)
{
    vt_wipe(ring, sizeof *ring);
}
