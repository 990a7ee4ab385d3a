/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page of a ring whose guest writes into it between any two accesses of ours (proto/tpmif.c with its hook). The
 * input is first a list of acts, then what the guest does at each access.
 */
#include "proto/tpmif.h"
#include "server/base/alloc.h"
#include "shim-linux/journal.h"
#include "tests/fuzz/fuzz.h"

/* What the shim does next; ACT_GUEST: only time passes. */
enum act { ACT_POLL, ACT_ANSWER, ACT_REMAP, ACT_RESTART, ACT_GUEST, ACTS };

/* What one access of ours may change. */
enum writes { WRITES_NOTHING, WRITES_RESPONSE, WRITES_STATE, WRITES_ANSWER };

static struct {
    struct fuzz_src src;
    uint32_t *page; /* of exactly one page, so that the sanitizer sees what is beyond */
    uint32_t shadow[TPMIF_PAGE / 4];
    enum writes writes;
    uint32_t offset; /* of the data we may write */
    struct tpmif *ring;
    uint8_t kept[TPMIF_DATA_MAX]; /* the command under way, as it was given to the caller */
} f;

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return 0;
}

/* ---- What we changed since the guest's last turn ---- */

static bool may_change(size_t word)
{
    switch (f.writes) {
    case WRITES_NOTHING:
        return false;
    case WRITES_RESPONSE:
        return word == 0 || (word >= 2 && word * 4 >= f.offset);
    case WRITES_STATE:
        return word == 1;
    case WRITES_ANSWER:
        return word <= 1 || word * 4 >= f.ring->offset;
    }
    return false;
}

static void check_writes(void)
{
    if (memcmp(f.page, f.shadow, TPMIF_PAGE) == 0)
        return;
    for (size_t word = 0; word < TPMIF_PAGE / 4; word++)
        FUZZ_CHECK(f.page[word] == f.shadow[word] || may_change(word));
    /* Only the state; the fields beside it are the front end's. */
    if (f.page[1] != f.shadow[1]) {
        FUZZ_CHECK((f.page[1] & 0xffffff00u) == (f.shadow[1] & 0xffffff00u));
        FUZZ_CHECK((f.page[1] & 0xff) == TPMIF_FINISH || (f.page[1] & 0xff) == TPMIF_IDLE);
    }
}

/* ---- The guest's turn ---- */

static void guest_writes(void)
{
    const uint8_t what = fuzz_u8(&f.src);
    const uint16_t value = fuzz_u16(&f.src);
    uint8_t *bytes = (uint8_t *)f.page;

    switch (what & 7) {
    case 1: /* a likely length */
        f.page[0] = value % 5000;
        break;
    case 2: /* an unlikely one */
        f.page[0] = 0xffffffffu - value;
        break;
    case 3:
        bytes[4] = (uint8_t)(value % 5);
        break;
    case 4:
        bytes[5] = (uint8_t)value;
        break;
    case 5:
        bytes[7] = (uint8_t)value;
        break;
    case 6: /* the tag, wherever it is at the moment */
        bytes[TPMIF_HEADER + 4u * bytes[7] + 1] = (uint8_t)(0xc0 | (value & 7));
        break;
    case 7:
        bytes[value % TPMIF_PAGE] = what;
        break;
    default:
        break;
    }
}

void tpmif_hook(volatile uint32_t *page);
void tpmif_hook(volatile uint32_t *page)
{
    FUZZ_CHECK(page == f.page);
    /* The guest rests for good: allow() will look. */
    if (!f.src.left)
        return;
    check_writes();
    guest_writes();
    memcpy(f.shadow, f.page, TPMIF_PAGE);
}

/* ---- Our acts ---- */

static void allow(enum writes writes, uint32_t offset)
{
    check_writes();
    memcpy(f.shadow, f.page, TPMIF_PAGE);
    f.writes = writes;
    f.offset = offset;
}

/* Whatever the page says: what was given to the caller stays, and its bounds hold. */
static void check_command(void)
{
    FUZZ_CHECK(f.ring->len <= TPMIF_DATA_MAX);
    if (!f.ring->busy)
        return;
    FUZZ_CHECK(f.ring->len >= 10 && f.ring->offset >= TPMIF_HEADER && f.ring->offset % 4 == 0);
    FUZZ_CHECK(f.ring->offset <= TPMIF_HEADER + 4 * 255 && f.ring->offset + f.ring->len <= TPMIF_PAGE);
    FUZZ_CHECK(f.ring->locality < 4 && (f.ring->localities >> f.ring->locality & 1));
    FUZZ_CHECK(memcmp(f.kept, f.ring->command, f.ring->len) == 0);
}

static void poll_page(void)
{
    const bool was_busy = f.ring->busy, was_cancelled = f.ring->cancelled;
    enum tpmif_event event;

    /* What is answered here: bytes, length and state. Their order is test_tpmif's matter. */
    allow(was_busy ? WRITES_NOTHING : WRITES_ANSWER, 0);
    event = tpmif_poll(f.ring);
    allow(WRITES_NOTHING, 0);
    FUZZ_CHECK(!was_busy || event == TPMIF_NOTHING || (event == TPMIF_CANCELLED && !was_cancelled));
    FUZZ_CHECK(f.ring->busy == (was_busy || event == TPMIF_COMMAND));
    if (event == TPMIF_COMMAND)
        memcpy(f.kept, f.ring->command, f.ring->len);
}

static void answer(void)
{
    const size_t len = fuzz_u16(&f.src) % (2 * TPMIF_PAGE);
    const uint32_t offset = f.ring->offset;
    uint8_t *response = vt_calloc(1, len + 1);
    struct tpmif_print print;

    FUZZ_CHECK(response);
    memset(response, 0xc4, len);
    allow(WRITES_RESPONSE, offset);
    print = tpmif_put(f.ring, response, len);
    FUZZ_CHECK(print.len == 10 || print.len == len);
    FUZZ_CHECK(print.len >= 10 && offset + print.len <= TPMIF_PAGE);
    check_command();
    allow(WRITES_STATE, offset);
    tpmif_finish(f.ring);
    allow(WRITES_NOTHING, 0);
    FUZZ_CHECK(!f.ring->busy);
    vt_free(response);
}

/* The shim was killed: what it finds in the page, and what it makes of it. */
static void restart(uint8_t localities)
{
    uint8_t *command = vt_memdup(f.ring->command, sizeof f.ring->command);
    struct journal_entry entry = {.kind = (enum journal_kind)(fuzz_u8(&f.src) % 3)};
    struct tpmif_view view;
    enum journal_plan plan;

    FUZZ_CHECK(command);
    entry.mark.len = f.ring->busy ? f.ring->len : (size_t)10 + fuzz_u8(&f.src);
    entry.mark.locality = f.ring->busy ? f.ring->locality : 0;
    entry.mark.command = command;
    tpmif_init(f.ring, f.page, localities);
    allow(WRITES_NOTHING, 0);
    tpmif_look(f.ring, &view);
    FUZZ_CHECK(!view.fits || (f.ring->len >= 10 && view.offset + f.ring->len <= TPMIF_PAGE));
    FUZZ_CHECK(view.fits || (!view.is_response && !f.ring->len));
    plan = journal_decide(&entry, f.ring, &view);
    FUZZ_CHECK(plan != JOURNAL_RESEND || (entry.kind == JOURNAL_SENT && view.fits));
    FUZZ_CHECK((plan != JOURNAL_FINISH && plan != JOURNAL_NEXT) || entry.kind == JOURNAL_DELIVERED);
    if (plan == JOURNAL_RESEND && (localities & 1 << entry.mark.locality) &&
        tpmif_restore(f.ring, &view, entry.mark.locality, command, entry.mark.len))
        memcpy(f.kept, command, entry.mark.len);
    allow(WRITES_STATE, 0);
    if (plan == JOURNAL_FINISH)
        tpmif_finish(f.ring);
    allow(WRITES_NOTHING, 0);
    vt_free(command);
}

static void act_once(enum act act, uint8_t localities)
{
    switch (act) {
    case ACT_POLL:
        poll_page();
        break;
    case ACT_ANSWER:
        if (f.ring->busy)
            answer();
        break;
    case ACT_REMAP:
        tpmif_wipe(f.ring);
        tpmif_init(f.ring, f.page, localities);
        break;
    case ACT_RESTART:
        restart(localities);
        break;
    case ACT_GUEST:
    default:
        guest_writes();
        memcpy(f.shadow, f.page, TPMIF_PAGE);
        break;
    }
    check_command();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const uint8_t localities = (uint8_t)((len ? bytes[0] : 0) | 1);
    size_t acts;

    f.src = (struct fuzz_src){bytes, len};
    (void)fuzz_u8(&f.src);
    acts = fuzz_u8(&f.src);
    f.page = aligned_alloc(TPMIF_PAGE, TPMIF_PAGE);
    f.ring = VT_NEW(struct tpmif);
    FUZZ_CHECK(f.page && f.ring);
    memset(f.page, 0, TPMIF_PAGE);
    memset(f.shadow, 0, sizeof f.shadow);
    tpmif_init(f.ring, f.page, localities);
    while (acts-- && f.src.left)
        act_once((enum act)(fuzz_u8(&f.src) % ACTS), localities);
    vt_free_wiped(f.ring, sizeof *f.ring);
    free(f.page);
    return 0;
}

/* One act per line; after an act come the guest's turns, three bytes for each access, until the input is at an end. */
void fuzz_seeds(fuzz_emit emit, void *arg)
{
    /* The guest submits 14 bytes; they are taken (2 + 4 accesses without a change) and answered. */
#define GUEST(what, value) ACT_GUEST, (what), (uint8_t)((value) >> 8), (uint8_t)(value)
#define STILL 0, 0, 0
    static const uint8_t course[] = {
        1, 20, GUEST(1, 14), GUEST(6, 1), GUEST(3, TPMIF_SUBMIT), ACT_POLL, STILL, STILL, STILL, STILL, STILL, STILL,
        ACT_ANSWER, 0, 12, STILL, STILL, STILL, STILL, STILL, GUEST(3, TPMIF_CANCEL), ACT_POLL, STILL, STILL, STILL};
    static const uint8_t oversize[] = {1, 20, GUEST(2, 1), GUEST(5, 255), GUEST(3, TPMIF_SUBMIT), ACT_POLL,
                                       3, 0, 1, 1, 0, 20, STILL, STILL, STILL, STILL, STILL};
    static const uint8_t flip[] = {1, 20, GUEST(1, 4088), GUEST(3, TPMIF_SUBMIT), ACT_POLL, 1, 0, 12, 5, 0, 9, 2, 0, 7,
                                   7, 1, 1, 3, 0, 3, 6, 0, 4, ACT_POLL, 1, 2, 3, 4, 5, 6, ACT_ANSWER, 31, 255};
    static const uint8_t dies[] = {1, 20, GUEST(1, 14), GUEST(3, TPMIF_SUBMIT), ACT_POLL, STILL, STILL, STILL, STILL, STILL,
                                   STILL, ACT_RESTART, 1, STILL, STILL, STILL, STILL, STILL, STILL, ACT_ANSWER, 0, 30};
#undef STILL
#undef GUEST

    emit(arg, "seed-course", course, sizeof course);
    emit(arg, "seed-oversize", oversize, sizeof oversize);
    emit(arg, "seed-flip", flip, sizeof flip);
    emit(arg, "seed-dies", dies, sizeof dies);
}
