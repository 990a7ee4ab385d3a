/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim's journal: its file, the decision after a restart, and a model around both (docs/record-and-recovery.md,
 * "A shim's own death"): a guest, its page, the real ring, relay and journal, and a server with a window of one. The
 * shim is killed between any two of its acts, also between two words that it writes into the page and in the middle
 * of a write of the journal. What the guest was told must be what happened, once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_server.h"
#include "server/base/alloc.h"
#include "shim-linux/journal.h"

/* test_journal SEED runs one random schedule, JOURNAL_SCHEDULES=n that many. */
#define FILE_SIZE (2 * 8192)
#define HOLD_MS   500
#define NEVER     (-1L)

static char dir[] = "/tmp/vtpm-journal-XXXXXX";
static char path[64];

static union {
    uint32_t words[TPMIF_PAGE / 4];
    uint8_t bytes[TPMIF_PAGE];
} page __attribute__((aligned(TPMIF_PAGE)));

/* ---- Death ---- */

static jmp_buf killed;
static long steps_left; /* the shim dies at step 0 */
static long steps_made;
static bool shim_acts;

static void step(void)
{
    if (!shim_acts)
        return;
    steps_made++;
    if (steps_left != NEVER && steps_left-- == 0)
        longjmp(killed, 1);
}

static bool dies_now(void)
{
    return shim_acts && steps_left == 0;
}

void tpmif_hook(volatile uint32_t *at);
void tpmif_hook(volatile uint32_t *at VT_UNUSED)
{
    step();
}

/* ---- Chance ---- */

static uint32_t seed;

static uint32_t dice(uint32_t bound)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % bound;
}

/* ---- The world ---- */

static struct {
    /* The server and the way to it. */
    struct fake fake;
    struct fake_conn *conn;
    uint64_t now, away_until;
    bool server_closed;
    /* The shim. */
    struct tpmif ring;
    struct journal *journal;
    struct relay *relay;
    bool runs, drops_response;
    unsigned starts, plans[JOURNAL_NEXT + 1];
    /* The guest. */
    struct journal_ring ring_id;
    bool waits, cancels, repeats;
    uint32_t id, next_id, total;
    unsigned completed[FAKE_IDS], abandoned[FAKE_IDS];
    unsigned retries, answers, idles;
} w;

static void read_file(uint8_t bytes[FILE_SIZE])
{
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, FILE_SIZE, 0), FILE_SIZE);
    close(fd);
}

static void write_file(const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, 0), (ssize_t)len);
    close(fd);
}

/* ---- The shim ---- */

/* A write that is cut short leaves the beginning of the new and the end of the old. */
static void torn(const uint8_t before[FILE_SIZE])
{
    uint8_t after[FILE_SIZE];
    size_t first = 0, last = FILE_SIZE;

    if (!dies_now()) {
        step();
        return;
    }
    read_file(after);
    while (first < last && before[first] == after[first])
        first++;
    while (last > first && before[last - 1] == after[last - 1])
        last--;
    if (first < last) {
        first += dice((uint32_t)(last - first));
        memcpy(after + first, before + first, FILE_SIZE - first);
        write_file(after, FILE_SIZE);
    }
    step();
}

static int on_note(void *ctx VT_UNUSED, const struct relay_mark *mark)
{
    uint8_t before[FILE_SIZE];
    int err;

    step();
    read_file(before);
    err = journal_sent(w.journal, mark);
    torn(before);
    step();
    return err;
}

static void deliver(const uint8_t *bytes, size_t len)
{
    uint8_t before[FILE_SIZE];
    struct relay_position position;
    struct tpmif_print print;

    if (w.drops_response) {
        w.drops_response = false;
        relay_answered(w.relay);
        return;
    }
    step();
    print = tpmif_put(&w.ring, bytes, len);
    step();
    relay_position(w.relay, &position);
    read_file(before);
    assert_int_equal(journal_delivered(w.journal, &position, &print), VT_OK);
    torn(before);
    step();
    tpmif_finish(&w.ring);
    relay_answered(w.relay);
    step();
}

static void resume(const struct journal_entry *entry, const struct tpmif_view *view, enum journal_plan plan)
{
    struct relay_config config = {
        .tls = {.random = fake_random, .identity = FAKE_IDENTITY, .key = &w.fake.key},
        .server = "test",
        .software = "test 1",
        .front_end = "xen",
        .startup = VTPM__STARTUP__STARTUP_CLEAR,
        .hold_ms = HOLD_MS,
        .note = on_note,
        .last_n = plan == JOURNAL_FRESH ? 0 : entry->last_n,
    };

    if (plan == JOURNAL_FRESH)
        fake_random(NULL, config.stream, sizeof config.stream);
    else
        memcpy(config.stream, entry->mark.stream, sizeof config.stream);
    assert_int_equal(relay_new(&w.relay, &config), VT_OK);
    if (plan == JOURNAL_RESEND)
        assert_true(tpmif_restore(&w.ring, view, entry->mark.locality, entry->mark.command, entry->mark.len));
    if (plan != JOURNAL_FRESH && entry->mark.n)
        assert_int_equal(relay_resume(w.relay, w.now, &entry->mark, plan != JOURNAL_RESEND), VT_OK);
    if (plan == JOURNAL_FINISH)
        tpmif_finish(&w.ring);
}

static void shim_start(void)
{
    struct journal_entry entry;
    struct tpmif_view view;
    struct vt_why why = {{0}};
    enum journal_plan plan;

    w.runs = true;
    w.starts++;
    w.drops_response = false;
    assert_int_equal(journal_open(&w.journal, path, &w.ring_id, &entry, &why), VT_OK);
    tpmif_init(&w.ring, &page, 1);
    tpmif_look(&w.ring, &view);
    plan = journal_decide(&entry, &w.ring, &view);
    w.plans[plan]++;
    resume(&entry, &view, plan);
}

/* What the kernel does for a process that is gone. */
static void shim_dies(void)
{
    shim_acts = false;
    journal_close(w.journal);
    relay_free(w.relay);
    fake_close(w.conn);
    w.journal = NULL;
    w.relay = NULL;
    w.conn = NULL;
    w.server_closed = w.runs = false;
}

static void cut(void)
{
    fake_close(w.conn);
    w.conn = NULL;
    w.server_closed = false;
    relay_disconnected(w.relay, w.now, "cut by the test");
}

static bool carry(struct vt_buf *out, bool up)
{
    uint8_t bytes[8192];
    size_t len = out ? VT_MIN(vt_buf_size(out), sizeof bytes) : 0;

    if (!len)
        return false;
    step();
    memcpy(bytes, vt_buf_bytes(out), len);
    vt_buf_drop(out, len);
    if (up)
        w.server_closed |= !fake_bytes(w.conn, bytes, len);
    else
        relay_bytes(w.relay, w.now, bytes, len);
    step();
    return true;
}

static bool upstream(void)
{
    uint64_t wake = 0;
    enum relay_act act = relay_drive(w.relay, w.now, &wake);

    assert_int_not_equal(act, RELAY_ENDED);
    if (act == RELAY_CONNECT) {
        if (w.now < w.away_until) {
            relay_disconnected(w.relay, w.now, "refused by the test");
            return true;
        }
        w.conn = fake_open(&w.fake);
        relay_connected(w.relay, w.now);
        return true;
    }
    if (w.conn && (carry(relay_output(w.relay), true) || carry(fake_output(w.conn), false)))
        return true;
    if (act == RELAY_CLOSE || (w.conn && w.server_closed)) {
        cut();
        return true;
    }
    /* Nothing but time can go on. */
    if (!relay_busy(w.relay) || wake == UINT64_MAX)
        return false;
    w.now = VT_MAX(w.now + 1, wake);
    return true;
}

static bool shim_turn(void)
{
    const uint8_t *bytes;
    size_t len;

    if (relay_response(w.relay, &bytes, &len)) {
        deliver(bytes, len);
        return true;
    }
    if (!w.drops_response && (!relay_busy(w.relay) || w.ring.busy) && tpmif_poll(&w.ring) == TPMIF_COMMAND) {
        assert_int_equal(relay_submit(w.relay, w.now, w.ring.locality, w.ring.command, w.ring.len), VT_OK);
        return true;
    }
    return upstream();
}

/* ---- The guest ---- */

static void guest_submits(uint32_t id, bool cancels)
{
    memset(page.bytes + 8, 0, 64);
    fake_command(page.bytes + 8, id);
    page.words[0] = FAKE_COMMAND;
    page.bytes[4] = cancels ? TPMIF_CANCEL : TPMIF_SUBMIT;
    w.id = id;
    w.waits = true;
    w.cancels = cancels;
}

static void guest_gets_code(uint32_t code)
{
    assert_int_equal(code, 0x800);
    w.retries++;
    w.repeats = true;
}

static void guest_gets_answer(void)
{
    const uint8_t *response = page.bytes + 8;

    w.waits = false;
    if (page.words[0] == 10) {
        guest_gets_code((uint32_t)response[8] << 8 | response[9]);
        return;
    }
    assert_int_equal(page.words[0], FAKE_RESPONSE);
    assert_int_equal(fake_response_id(response), w.id);
    /* Not an older one's, although the bytes of the command may be the same. */
    assert_true(fake_response_total(response) > w.total);
    w.total = fake_response_total(response);
    w.completed[w.id]++;
    w.answers++;
    w.repeats = false;
}

/* True: the guest is not waiting (any more). */
static bool guest_looks(void)
{
    if (!w.waits)
        return true;
    if (page.bytes[4] == TPMIF_FINISH) {
        guest_gets_answer();
    } else if (page.bytes[4] == TPMIF_IDLE) {
        assert_true(w.cancels);
        w.waits = false;
        w.idles++;
    }
    return !w.waits;
}

/* The driver is unbound and bound again: another page, another grant, or the same numbers once more. */
static void guest_rebinds(bool same_numbers)
{
    if (w.waits || w.repeats)
        w.abandoned[w.id]++;
    w.waits = w.repeats = false;
    memset(&page, 0, sizeof page);
    w.ring_id.ring_ref += !same_numbers;
    w.ring_id.event_channel += !same_numbers;
    if (!w.runs)
        return;
    w.drops_response = relay_busy(w.relay);
    tpmif_init(&w.ring, &page, 1);
    journal_set_ring(w.journal, &w.ring_id);
}

/* ---- Schedules ---- */

static void world_start(uint32_t with_seed)
{
    seed = with_seed;
    memset(&w, 0, sizeof w);
    memset(&page, 0, sizeof page);
    (void)unlink(path);
    fake_init(&w.fake);
    w.now = 1000;
    w.ring_id = (struct journal_ring){.domid = 3, .ring_ref = 8, .event_channel = 15};
    steps_left = NEVER;
    steps_made = 0;
}

static void world_stop(void)
{
    shim_dies();
    assert_int_equal(w.fake.refused, 0);
    for (uint32_t id = 0; id < w.next_id; id++) {
        assert_true(w.fake.effects[id] >= w.completed[id]);
        assert_true(w.fake.effects[id] <= w.completed[id] + w.abandoned[id]);
    }
}

/* Until the guest has its answer and nothing is left to do; false: the shim was killed. */
static bool run(void)
{
    if (setjmp(killed)) {
        shim_dies();
        return false;
    }
    shim_acts = true;
    if (!w.runs)
        shim_start();
    while (!guest_looks() || w.drops_response)
        if (!shim_turn())
            assert_true(guest_looks());
    shim_acts = false;
    return true;
}

/* What happens while the shim is dead, and how far it comes the next time. */
typedef void (*absence_fn)(void);

static void run_with(absence_fn absence)
{
    while (!run())
        absence();
}

/* One command, the same bytes again, another one with a longer name, a cancel in the middle, one that is never seen. */
static void script(absence_fn absence)
{
    static const uint32_t ids[] = {1, 1, 2, 3, 3, 3};

    w.next_id = 4;
    for (size_t i = 0; i < VT_COUNT(ids); i++) {
        guest_submits(ids[i], false);
        run_with(absence);
    }
    guest_submits(0, true);
    run_with(absence);
    assert_int_equal(w.fake.effects[0], 0);
    assert_int_equal(w.answers, VT_COUNT(ids));
    assert_int_equal(w.idles, 1);
}

static void dies_no_more(void)
{
    steps_left = NEVER;
}

static void test_journal__killed_at_each_step__exactly_once(void **state VT_UNUSED)
{
    unsigned plans[VT_COUNT(w.plans)] = {0};
    long steps;

    world_start(1);
    script(dies_no_more);
    steps = steps_made;
    world_stop();
    assert_true(steps > 100);
    for (long k = 0; k < steps; k++) {
        world_start(1);
        steps_left = k;
        script(dies_no_more);
        assert_int_equal(w.starts, 2);
        for (size_t p = 0; p < VT_COUNT(plans); p++)
            plans[p] += w.plans[p];
        world_stop();
    }
    for (size_t p = 0; p < VT_COUNT(plans); p++)
        assert_true(plans[p] > 0);
}

static void dies_once_more(void)
{
    steps_left = w.starts < 2 ? (long)dice(80) : NEVER;
}

static void test_journal__killed_again_while_it_recovers__exactly_once(void **state VT_UNUSED)
{
    for (uint32_t k = 0; k < 200; k++) {
        world_start(k);
        steps_left = (long)dice(200);
        script(dies_once_more);
        world_stop();
    }
}

/* ---- At random: deaths, an absent server, cancels, new rings, the same bytes again ---- */

static void random_absence(void)
{
    steps_left = dice(3) ? (long)dice(250) : NEVER;
    if (dice(8) == 0)
        w.away_until = w.now + 100 + dice(2000);
    if (dice(10) == 0 && w.waits) {
        w.cancels = true;
        if (page.bytes[4] == TPMIF_SUBMIT)
            page.bytes[4] = TPMIF_CANCEL;
    }
    if (dice(12) == 0)
        guest_rebinds(dice(2));
}

static void random_command(void)
{
    /* What was answered by TPM_RETRY is repeated, mostly; else a new one, or the bytes of the last one again. */
    if (w.repeats && dice(5)) {
        guest_submits(w.id, false);
    } else {
        const bool again = w.next_id && dice(4) == 0, cancels = dice(12) == 0;

        w.abandoned[w.id] += w.repeats;
        w.repeats = false;
        guest_submits(again ? w.next_id - 1 : w.next_id++, cancels);
    }
    run_with(random_absence);
}

static void random_event(void)
{
    switch (dice(10)) {
    case 0:
        if (w.runs)
            shim_dies();
        random_absence();
        break;
    case 1:
        if (w.runs && w.conn)
            cut();
        w.away_until = w.now + dice(2000);
        break;
    case 2:
        guest_rebinds(dice(2));
        break;
    default:
        random_command();
    }
}

static void random_schedule(uint32_t number)
{
    world_start(number);
    steps_left = (long)dice(200);
    for (int i = 0; i < 25; i++)
        random_event();
    steps_left = NEVER;
    while (w.repeats)
        random_command();
    world_stop();
}

static uint64_t only_seed;

static void test_journal__random_schedules__exactly_once(void **state VT_UNUSED)
{
    const char *count_text = getenv("JOURNAL_SCHEDULES");
    const uint64_t count = only_seed ? 1 : count_text ? strtoull(count_text, NULL, 10) : 120;
    const uint64_t first = only_seed ? only_seed : 1;
    unsigned answers = 0, retries = 0, starts = 0;

    for (uint64_t number = first; number < first + count; number++) {
        random_schedule((uint32_t)number);
        answers += w.answers;
        retries += w.retries;
        starts += w.starts;
    }
    print_message("%u answers, %u retries, %u starts of the shim\n", answers, retries, starts);
    assert_true(only_seed || (answers > 8 * count && retries > count && starts > 3 * count));
}

/* ---- The file ---- */

static const struct journal_ring this_ring = {.domid = 7, .ring_ref = 1, .event_channel = 2};

static struct relay_mark mark_of(uint64_t n, const void *command, size_t len)
{
    struct relay_mark mark = {.n = n, .before_n = 5, .locality = 1, .command = command, .len = len};

    memset(mark.stream, 0xaa, sizeof mark.stream);
    memset(mark.before_stream, 0xbb, sizeof mark.before_stream);
    return mark;
}

static struct journal *open_it(const struct journal_ring *ring, struct journal_entry *entry)
{
    struct journal *journal = NULL;

    assert_int_equal(journal_open(&journal, path, ring, entry, NULL), VT_OK);
    return journal;
}

static void test_journal__new_file__holds_nothing_and_is_private(void **state VT_UNUSED)
{
    struct journal_entry entry;
    struct stat st;

    (void)unlink(path);
    journal_close(open_it(&this_ring, &entry));
    assert_int_equal(entry.kind, JOURNAL_NONE);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, FILE_SIZE);
}

static void test_journal__sent_and_delivered__read_back(void **state VT_UNUSED)
{
    static uint8_t command[MESSAGE_COMMAND_MAX];
    struct journal_entry entry;
    struct journal *journal;
    struct relay_position position = {.last_n = 41};

    (void)unlink(path);
    memset(command, 0x77, sizeof command);
    for (size_t len = 10; len <= sizeof command; len += 1021) {
        struct relay_mark mark = mark_of(42, command, len);

        journal = open_it(&this_ring, &entry);
        assert_int_equal(journal_sent(journal, &mark), VT_OK);
        journal_close(journal);
        journal = open_it(&this_ring, &entry);
        assert_int_equal(entry.kind, JOURNAL_SENT);
        assert_int_equal(entry.last_n, 41);
        assert_int_equal(entry.mark.n, 42);
        assert_int_equal(entry.mark.before_n, 5);
        assert_int_equal(entry.mark.locality, 1);
        assert_memory_equal(entry.mark.stream, mark.stream, sizeof mark.stream);
        assert_memory_equal(entry.mark.before_stream, mark.before_stream, sizeof mark.before_stream);
        assert_int_equal(entry.mark.len, len);
        assert_memory_equal(entry.mark.command, command, len);
        /* Delivered, with the command in doubt, from the journal's own memory. */
        position.mark = entry.mark;
        assert_int_equal(journal_delivered(journal, &position, &(struct tpmif_print){10, 99}), VT_OK);
        journal_close(journal);
        journal = open_it(&this_ring, &entry);
        assert_int_equal(entry.kind, JOURNAL_DELIVERED);
        assert_int_equal(entry.mark.n, 42);
        assert_memory_equal(entry.mark.command, command, len);
        assert_true(entry.print.len == 10 && entry.print.sum == 99);
        journal_close(journal);
    }
}

static void test_journal__another_ring__entry_is_void(void **state VT_UNUSED)
{
    struct relay_mark mark = mark_of(2, "0123456789", 10);
    struct journal_ring other;
    struct journal_entry entry;
    struct journal *journal;

    (void)unlink(path);
    journal = open_it(&this_ring, &entry);
    assert_int_equal(journal_sent(journal, &mark), VT_OK);
    journal_close(journal);
    for (size_t i = 0; i < sizeof other; i++) {
        other = this_ring;
        ((uint8_t *)&other)[i] ^= 1;
        journal_close(open_it(&other, &entry));
        assert_int_equal(entry.kind, JOURNAL_NONE);
    }
    journal_close(open_it(&this_ring, &entry));
    assert_int_equal(entry.kind, JOURNAL_SENT);
}

/* Whatever byte of the newest slot is wrong, the older one counts. */
static void test_journal__any_byte_of_a_slot_damaged__older_entry(void **state VT_UNUSED)
{
    struct relay_mark first = mark_of(1, "0123456789", 10), second = mark_of(2, "abcdefghij", 10);
    uint8_t good[FILE_SIZE], bad[FILE_SIZE];
    struct journal_entry entry;
    struct journal *journal;

    (void)unlink(path);
    journal = open_it(&this_ring, &entry);
    assert_int_equal(journal_sent(journal, &first), VT_OK);
    assert_int_equal(journal_sent(journal, &second), VT_OK);
    journal_close(journal);
    read_file(good);
    for (size_t i = 0; i < 162; i++) {
        memcpy(bad, good, sizeof bad);
        bad[8192 + i] ^= 0x10;
        write_file(bad, sizeof bad);
        journal_close(open_it(&this_ring, &entry));
        assert_int_equal(entry.kind, JOURNAL_SENT);
        assert_int_equal(entry.mark.n, 1);
    }
}

static bool file_has(const char *text)
{
    uint8_t bytes[FILE_SIZE];

    read_file(bytes);
    for (size_t i = 0; i + strlen(text) <= sizeof bytes; i++)
        if (memcmp(bytes + i, text, strlen(text)) == 0)
            return true;
    return false;
}

static void test_journal__shorter_command__covers_the_longer_one(void **state VT_UNUSED)
{
    static const char secret[] = "0123456789 and the secret at its end";
    struct relay_mark longer = mark_of(1, secret, sizeof secret), shorter = mark_of(2, "0123456789", 10);
    struct relay_position none = {.last_n = 1};
    struct journal_entry entry;
    struct journal *journal;

    (void)unlink(path);
    journal = open_it(&this_ring, &entry);
    assert_int_equal(journal_sent(journal, &longer), VT_OK);
    assert_int_equal(journal_delivered(journal, &none, &(struct tpmif_print){0, 0}), VT_OK);
    /* Also when another process goes on. */
    journal_close(journal);
    journal = open_it(&this_ring, &entry);
    assert_true(file_has("secret"));
    assert_int_equal(journal_sent(journal, &shorter), VT_OK);
    assert_false(file_has("secret"));
    journal_remove(journal);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_journal__second_shim__is_refused(void **state VT_UNUSED)
{
    struct journal_entry entry;
    struct vt_why why = {{0}};
    struct journal *first, *second = NULL;

    (void)unlink(path);
    first = open_it(&this_ring, &entry);
    assert_int_equal(journal_open(&second, path, &this_ring, &entry, &why), VT_ECONFLICT);
    assert_non_null(strstr(why.text, path));
    journal_close(first);
    journal_close(open_it(&this_ring, &entry));
}

static void test_journal__file_of_others__is_refused(void **state VT_UNUSED)
{
    struct journal_entry entry;
    struct journal *journal = NULL;

    (void)unlink(path);
    journal_close(open_it(&this_ring, &entry));
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(journal_open(&journal, path, &this_ring, &entry, NULL), VT_EPERM);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(journal_open(&journal, path, &this_ring, &entry, NULL), VT_EIO);
    assert_int_equal(unlink(path), 0);
}

static void write_for_ever(void)
{
    static uint8_t command[MESSAGE_COMMAND_MAX];
    struct journal_entry entry;
    struct journal *journal = open_it(&this_ring, &entry);

    for (uint64_t n = 1;; n++) {
        struct relay_mark mark = mark_of(n, command, sizeof command);

        memset(command, (int)n, sizeof command);
        if (journal_sent(journal, &mark))
            _exit(1);
    }
}

/* A real SIGKILL, in the middle of writes of more than a page. */
static void test_journal__process_killed__last_whole_entry_is_there(void **state VT_UNUSED)
{
    uint64_t most = 0;

    for (int i = 0; i < 60; i++) {
        struct journal_entry entry;
        int status;
        pid_t child;

        (void)unlink(path);
        child = fork();
        assert_true(child >= 0);
        if (!child)
            write_for_ever();
        usleep((useconds_t)(500 + 97 * i));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        journal_close(open_it(&this_ring, &entry));
        if (entry.kind == JOURNAL_NONE)
            continue; /* it had not come that far */
        assert_int_equal(entry.kind, JOURNAL_SENT);
        assert_int_equal(entry.mark.len, MESSAGE_COMMAND_MAX);
        most = VT_MAX(most, entry.mark.n);
    }
    assert_true(most > 0);
}

/* ---- The decision, row by row of docs/record-and-recovery.md ---- */

static void test_journal__decision__as_the_table_says(void **state VT_UNUSED)
{
    enum holds { COMMAND, RESPONSE, OTHER_RESPONSE, OTHER, NOTHING };
    static const struct {
        enum journal_kind kind;
        enum tpmif_state state;
        enum holds holds;
        enum journal_plan plan;
    } rows[] = {
        {JOURNAL_NONE, TPMIF_SUBMIT, COMMAND, JOURNAL_FRESH},
        {JOURNAL_NONE, TPMIF_IDLE, NOTHING, JOURNAL_FRESH},
        {JOURNAL_SENT, TPMIF_SUBMIT, COMMAND, JOURNAL_RESEND},
        {JOURNAL_SENT, TPMIF_CANCEL, COMMAND, JOURNAL_RESEND},
        {JOURNAL_SENT, TPMIF_SUBMIT, RESPONSE, JOURNAL_RESEND},
        {JOURNAL_SENT, TPMIF_SUBMIT, OTHER_RESPONSE, JOURNAL_RESEND},
        {JOURNAL_SENT, TPMIF_SUBMIT, OTHER, JOURNAL_FRESH},
        {JOURNAL_SENT, TPMIF_SUBMIT, NOTHING, JOURNAL_FRESH},
        {JOURNAL_SENT, TPMIF_IDLE, COMMAND, JOURNAL_FRESH},
        {JOURNAL_SENT, TPMIF_FINISH, RESPONSE, JOURNAL_FRESH},
        {JOURNAL_SENT, TPMIF_ODD, COMMAND, JOURNAL_FRESH},
        {JOURNAL_DELIVERED, TPMIF_SUBMIT, RESPONSE, JOURNAL_FINISH},
        {JOURNAL_DELIVERED, TPMIF_CANCEL, RESPONSE, JOURNAL_FINISH},
        {JOURNAL_DELIVERED, TPMIF_SUBMIT, OTHER_RESPONSE, JOURNAL_NEXT},
        {JOURNAL_DELIVERED, TPMIF_SUBMIT, COMMAND, JOURNAL_NEXT},
        {JOURNAL_DELIVERED, TPMIF_SUBMIT, OTHER, JOURNAL_NEXT},
        {JOURNAL_DELIVERED, TPMIF_SUBMIT, NOTHING, JOURNAL_NEXT},
        {JOURNAL_DELIVERED, TPMIF_CANCEL, COMMAND, JOURNAL_NEXT},
        {JOURNAL_DELIVERED, TPMIF_FINISH, RESPONSE, JOURNAL_NEXT},
        {JOURNAL_DELIVERED, TPMIF_IDLE, NOTHING, JOURNAL_NEXT},
    };
    static const char *const bytes[] = {"\x00\xc1 a command", "\x00\xc4 its answer", "\x00\xc4 an answer.",
                                        "\x00\xc1 another..", ""};

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        struct journal_entry entry = {.kind = rows[i].kind, .print = tpmif_print_of(bytes[RESPONSE], 12)};
        struct tpmif_view view;
        struct tpmif ring;

        entry.mark.command = (const uint8_t *)bytes[COMMAND];
        entry.mark.len = 12;
        memset(&page, 0, sizeof page);
        page.words[0] = rows[i].holds == NOTHING ? 0 : 12;
        page.bytes[4] = rows[i].state == TPMIF_ODD ? 99 : (uint8_t)rows[i].state;
        if (rows[i].holds != NOTHING)
            memcpy(page.bytes + 8, bytes[rows[i].holds], 12);
        tpmif_init(&ring, &page, 1);
        tpmif_look(&ring, &view);
        assert_int_equal(journal_decide(&entry, &ring, &view), rows[i].plan);
    }
}

static int set_up(void **state VT_UNUSED)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/ring", dir);
    return 0;
}

static int tear_down(void **state VT_UNUSED)
{
    (void)unlink(path);
    return rmdir(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_journal__new_file__holds_nothing_and_is_private),
        cmocka_unit_test(test_journal__sent_and_delivered__read_back),
        cmocka_unit_test(test_journal__another_ring__entry_is_void),
        cmocka_unit_test(test_journal__any_byte_of_a_slot_damaged__older_entry),
        cmocka_unit_test(test_journal__shorter_command__covers_the_longer_one),
        cmocka_unit_test(test_journal__second_shim__is_refused),
        cmocka_unit_test(test_journal__file_of_others__is_refused),
        cmocka_unit_test(test_journal__process_killed__last_whole_entry_is_there),
        cmocka_unit_test(test_journal__decision__as_the_table_says),
        cmocka_unit_test(test_journal__killed_at_each_step__exactly_once),
        cmocka_unit_test(test_journal__killed_again_while_it_recovers__exactly_once),
        cmocka_unit_test(test_journal__random_schedules__exactly_once),
    };

    if (argc > 1)
        only_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
