/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/courier.h"

#include "server/base/log.h"

/* An answer that its source did not take is offered again after this. */
#define ANSWER_MS 200

static bool give_answer(struct courier *courier, const uint8_t *bytes, size_t len)
{
    struct courier_response response = {.bytes = bytes, .len = len};

    relay_position(courier->relay, &response.position);
    return courier->ops->respond(courier->ctx, &response);
}

static void give_result(struct courier *courier, const struct relay_result *result)
{
    const struct courier_response response = {.result = result};

    (void)courier->ops->respond(courier->ctx, &response);
}

static void submit_deed(struct courier *courier, const struct relay_deed *deed)
{
    const struct relay_result failed = {.err = relay_submit_deed(courier->relay, courier->ops->now_ms(), deed)};

    if (failed.err)
        give_result(courier, &failed);
}

/* Only memory can fail here: the guest may try again. */
static void submit(struct courier *courier, const struct courier_request *request)
{
    static const uint8_t retry[10] = {0x00, 0xc4, 0, 0, 0, 10, 0, 0, 0x08, 0x00};

    if (relay_submit(courier->relay, courier->ops->now_ms(), request->locality, request->bytes, request->len) &&
        !give_answer(courier, retry, sizeof retry))
        vt_error("shim: %sout of memory: a command gets no answer", courier->label);
}

/* One command or response moves on; false: nothing to do. */
static bool move_commands(struct courier *courier)
{
    struct courier_request request = {0};
    struct relay_result result;
    const uint8_t *bytes;
    size_t len;

    if (relay_result(courier->relay, &result)) {
        relay_answered(courier->relay);
        give_result(courier, &result);
        return true;
    }
    if (relay_response(courier->relay, &bytes, &len)) {
        courier->not_taken = !give_answer(courier, bytes, len);
        if (courier->not_taken)
            return false;
        relay_answered(courier->relay);
        return true;
    }
    if (relay_busy(courier->relay) || courier->is_leaving || !courier->ops->take(courier->ctx, &request))
        return false;
    if (request.deed)
        submit_deed(courier, request.deed);
    else
        submit(courier, &request);
    return true;
}

/* Off only on a connection that has the instance: on a new one it would be taken away from whoever serves it by then. */
static void detach_if_due(struct courier *courier)
{
    bool has_it = relay_attached(courier->relay), busy = relay_busy(courier->relay);

    if (!courier->is_leaving)
        return;
    if (busy && has_it && courier->finishes && courier->ops->now_ms() < courier->leave_by_ms)
        return;
    relay_detach(courier->relay, courier->off && has_it && !busy);
}

static void connect_upstream(struct courier *courier)
{
    struct vt_why why = {{0}};

    if (courier->ops->connect(courier->ctx, &why))
        relay_disconnected(courier->relay, courier->ops->now_ms(), why.text);
}

/* Does what the relay says; false when it says: wait. */
static bool follow(struct courier *courier, bool *has_ended, uint64_t *wake_ms)
{
    enum relay_act act = relay_drive(courier->relay, courier->ops->now_ms(), wake_ms);
    struct vt_buf *out = relay_output(courier->relay);

    if (out)
        courier->ops->send(courier->ctx, out);
    if (act == RELAY_CONNECT)
        connect_upstream(courier);
    if (act == RELAY_CLOSE) {
        courier->ops->disconnect(courier->ctx);
        relay_disconnected(courier->relay, courier->ops->now_ms(), NULL);
    }
    if (act == RELAY_ENDED)
        courier->ops->disconnect(courier->ctx);
    *has_ended = act == RELAY_ENDED;
    return act != RELAY_WAIT && !*has_ended;
}

bool courier_drive(struct courier *courier, uint64_t *wake_ms)
{
    const uint8_t *bytes;
    bool has_ended;
    size_t len;

    do {
        while (move_commands(courier))
            ;
        detach_if_due(courier);
    } while (follow(courier, &has_ended, wake_ms));
    if (has_ended)
        return true;
    if (courier->is_leaving)
        *wake_ms = VT_MIN(*wake_ms, courier->leave_by_ms);
    if (relay_response(courier->relay, &bytes, &len))
        *wake_ms = courier->not_taken ? VT_MIN(*wake_ms, courier->ops->now_ms() + ANSWER_MS) : 0;
    return false;
}
