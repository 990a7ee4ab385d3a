/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor's control channel: requests in pieces, and a lane that answers when it likes, or never. Steps of the input:
 * bytes that arrive, a turn of the lane, a monitor that leaves. What holds: an answer for each request, none else, of a
 * size that its reader expects; no deed that the relay would refuse; no command for a TPM that the server did not power on.
 */
#include "server/base/log.h"
#include "shim-linux/monitor.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (STATEBLOB_MAX + 4096u)

static struct world {
    struct monitor *monitor;
    struct vt_buf in;
    struct ctrl_request request;
    bool has_request;
    unsigned answers;
    bool is_shut_down;
    bool has_deed;         /* the lane has one */
    enum relay_deed_kind deed;
    bool may_run;          /* the server has powered the TPM on since the last that ended it */
} w;

static void no_log(enum vt_log_level level VT_UNUSED, const char *line VT_UNUSED)
{
}

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    vt_log_to(no_log, VT_LOG_ERROR);
    return 0;
}

/* ---- What the monitor's requests come to ---- */

static size_t size_of_answer(uint32_t command, uint32_t rc)
{
    switch (command) {
    case CTRL_GET_TPMESTABLISHED:
        return 8;
    case CTRL_GET_STATEBLOB:
        return 16;
    case CTRL_GET_CAPABILITY:
    case CTRL_GET_CONFIG:
        return rc ? 4 : 8;
    case CTRL_SET_BUFFERSIZE:
        return rc ? 4 : 16;
    case CTRL_GET_INFO:
        return rc ? 4 : 12;
    default:
        return 4;
    }
}

static void on_answer(void *ctx VT_UNUSED, const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len)
{
    FUZZ_CHECK(len >= 4 && len == size_of_answer(w.request.command, ctrl_get32(head)));
    FUZZ_CHECK(!tail_len || (tail && tail_len == ctrl_get32(head + len - 4)));
    w.answers++;
}

static uint32_t on_data(void *ctx VT_UNUSED)
{
    return 0;
}

static void on_nothing(void *ctx VT_UNUSED)
{
}

static void on_shut_down(void *ctx VT_UNUSED)
{
    w.is_shut_down = true;
}

static const struct monitor_ops ops = {
    .answer = on_answer, .data = on_data, .cancel = on_nothing, .shut_down = on_shut_down};

static void hang_up(void)
{
    monitor_hang_up(w.monitor);
    vt_buf_free(&w.in);
    w.has_request = w.is_shut_down = false;
    w.answers = 0;
}

/* As the front end: away with the request, and with what came behind it. */
static void end_request(void)
{
    if (!w.has_request || !monitor_is_free(w.monitor))
        return;
    FUZZ_CHECK(w.answers == 1);
    w.answers = 0;
    w.has_request = false;
    vt_buf_free(&w.in);
    if (w.is_shut_down)
        hang_up();
}

static void look(void)
{
    int err;

    if (w.has_request || !monitor_is_free(w.monitor))
        return;
    err = ctrl_next(&w.in, &w.request);
    if (err == VT_ETOOBIG) {
        monitor_refuse(w.monitor, &w.request);
        FUZZ_CHECK(w.answers == 1);
        hang_up();
    } else if (!err) {
        FUZZ_CHECK(w.request.size <= vt_buf_size(&w.in) && w.request.len <= STATEBLOB_MAX);
        w.has_request = true;
        monitor_request(w.monitor, &w.request);
        if (w.request.command == CTRL_STOP || w.request.command == CTRL_SHUTDOWN)
            FUZZ_CHECK(w.request.is_followed || !monitor_is_running(w.monitor));
        end_request();
    }
}

/* ---- Steps ---- */

static void feed(struct fuzz_src *src, size_t len)
{
    const uint8_t *at = fuzz_take(src, &len);

    if (vt_buf_put(&w.in, at, len))
        hang_up();
    else
        look();
}

/* One thing of the lane's: takes a deed, or answers the one that it has. */
static void turn(uint8_t dice)
{
    struct courier_request request = {0};
    struct relay_result result = {.err = dice & 0x10 ? VT_EFAIL : VT_OK, .tpm_rc = dice & 0x20 ? 9 : 0};
    const bool good = !result.err && !result.tpm_rc;
    static const uint8_t ticket[MESSAGE_TICKET] = "VTHT";

    if (w.has_deed) {
        w.has_deed = false;
        if (w.deed == RELAY_TICKET && !result.err) {
            result.ticket = ticket;
            result.ticket_len = sizeof ticket;
        }
        if (w.deed == RELAY_BRING && !result.err)
            w.may_run = true; /* INIT goes on from there without the server */
        if (w.deed == RELAY_RESET || w.deed == RELAY_START)
            w.may_run = w.deed == RELAY_START ? !result.err : good;
        monitor_respond(w.monitor, &(struct courier_response){.result = &result});
        end_request();
    } else if (monitor_take(w.monitor, &request)) {
        FUZZ_CHECK(request.deed && request.deed->locality <= 4);
        FUZZ_CHECK(request.deed->len <= (request.deed->kind == RELAY_BRING ? STATEBLOB_MAX : CTRL_HASH_MAX));
        FUZZ_CHECK(request.deed->kind > RELAY_NO_DEED && request.deed->kind <= RELAY_BRING);
        w.deed = request.deed->kind;
        w.has_deed = true;
        if (w.deed == RELAY_OFF)
            w.may_run = false;
    } else if (monitor_is_running(w.monitor)) {
        FUZZ_CHECK(w.may_run && monitor_command(w.monitor) <= 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct fuzz_src src = {bytes, len};
    const struct monitor_config config = {.is_running = fuzz_u8(&src) & 1};

    w = (struct world){0};
    vt_buf_init(&w.in, INPUT_MAX);
    FUZZ_CHECK(monitor_new(&w.monitor, &config, &ops, NULL) == VT_OK);
    while (src.left) {
        uint8_t step = fuzz_u8(&src);

        if (step < 0x80)
            feed(&src, step);
        else if (step < 0xf0)
            turn(step);
        else
            hang_up();
        look();
    }
    monitor_free(w.monitor);
    vt_buf_free(&w.in);
    return 0;
}

/* ---- Seeds ---- */

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    /* Length of a piece, the piece; 0x80: the lane's turn; 0xff: the monitor leaves. */
    static const uint8_t qemu[] = "\0\4\0\0\0\x10\4\0\0\0\1\4\0\0\0\x0e\x8\0\0\0\x11\0\0\0\0\x8\0\0\0\2\0\0\0\0\x80\x80\x80"
                                  "\4\0\0\0\4\x80\x80\5\0\0\0\5\2\4\0\0\0\3\x80\x80";
    static const uint8_t hash[] = "\1\x80\x80\4\0\0\0\6\x80\x80\xb\0\0\0\7\0\0\0\3abc\x80\x80\4\0\0\0\x8\x80\x80\4\0\0\0\x9"
                                  "\5\0\0\0\xb\3\x80\x80\4\0\0\0\xa\4\0\0\0\xe\x8\0\0\0\2\0\0\0\1\x80";
    static const uint8_t blobs[] = "\1\x80\x80\x10\0\0\0\xc\0\0\0\0\0\0\0\1\0\0\0\0\4\0\0\0\xe\x14\0\0\0\xd\0\0\0\0\0\0\0\2"
                                   "\0\0\0\4abcd\x10\0\0\0\xd\0\0\0\0\0\0\0\1\xff\xff\xff\xff";
    static const uint8_t rest[] = "\0\4\0\0\0\xf\x14\0\0\0\x12\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\0\x8\0\0\0\x13\0\0\0\1\x4\0\0\0\x63"
                                  "\x8\0\0\0\2\0\0\0\0\x80\xff\x80\x80\x8\0\0\0\2\0\0\0\0\xff\x80";

    emit(arg, "seed-qemu", qemu, sizeof qemu - 1);
    emit(arg, "seed-hash", hash, sizeof hash - 1);
    emit(arg, "seed-blobs", blobs, sizeof blobs - 1);
    emit(arg, "seed-rest", rest, sizeof rest - 1);
}
