/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/proxychannel.h"

#include <errno.h>
#include <linux/vtpm_proxy.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/log.h"
#include "server/base/secret.h"

#define HEADER         10 /* tag 2, size 4, ordinal 4 */
#define COMMAND_MAX    4096
#define SET_LOCALITY   (HEADER + 1)
/* Locality 4 is the processor's own (Part 1, 2.3): no driver speaks for it. */
#define LOCALITY_MAX   3
/* Part 2, 16. */
#define SUCCESS        0
#define BAD_PARAM_SIZE 0x19
#define BAD_LOCALITY   0x3d

enum turn {
    TURN_IDLE,   /* the kernel may have a command */
    TURN_READ,   /* it is here */
    TURN_TAKEN,  /* its response is waited for */
    TURN_OVER
};

struct proxychannel {
    uv_poll_t poll;
    int fd;
    const struct proxychannel_events *events;
    void *ctx;
    enum turn turn;
    uint32_t locality;
    uint8_t command[COMMAND_MAX + 1]; /* one more: what is longer shows */
    size_t len;
};

static void on_poll(uv_poll_t *handle, int status, int events);

/* A command that the kernel sends while one is under way has to wait: the driver has one buffer. */
static void watch(struct proxychannel *channel)
{
    (void)uv_poll_start(&channel->poll, channel->turn == TURN_IDLE ? UV_READABLE : UV_DISCONNECT, on_poll);
}

static void be_gone(struct proxychannel *channel, const char *reason)
{
    if (channel->turn == TURN_OVER)
        return;
    channel->turn = TURN_OVER;
    (void)uv_poll_stop(&channel->poll);
    channel->events->gone(channel->ctx, reason);
}

/* ---- Responses ---- */

/* A device that is gone says so by its next event. */
static void write_response(struct proxychannel *channel, const uint8_t *bytes, size_t len)
{
    ssize_t n;

    do
        n = write(channel->fd, bytes, len);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EIO)
        vt_notice("proxy: the kernel no longer waited for a response: it is dropped, the command has been executed");
    else if (n < 0 && errno != EPIPE)
        vt_warning("proxy: a response could not be given to the kernel: %s", strerror(errno));
}

static void answer(struct proxychannel *channel, uint32_t code)
{
    const uint8_t response[HEADER] = {0x00, 0xc4, 0, 0, 0, HEADER, 0, 0, 0, (uint8_t)code};

    write_response(channel, response, sizeof response);
}

/* ---- Commands ---- */

static uint32_t u32_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* True: it is not for the TPM, and code is the answer. */
static bool is_answered_here(struct proxychannel *channel, uint32_t *code)
{
    const uint8_t *bytes = channel->command;

    *code = BAD_PARAM_SIZE;
    /* The driver gives on what a program wrote, cut or not: the size that it states must be what came. */
    if (channel->len < HEADER || channel->len > COMMAND_MAX || u32_at(bytes + 2) != channel->len)
        return true;
    if (u32_at(bytes + 6) != TPM_ORD_SET_LOCALITY)
        return false;
    /* From the kernel alone: it refuses the ordinal to programs. */
    if (channel->len == SET_LOCALITY) {
        *code = bytes[HEADER] > LOCALITY_MAX ? BAD_LOCALITY : SUCCESS;
        if (*code == SUCCESS)
            channel->locality = bytes[HEADER];
    }
    return true;
}

static void read_command(struct proxychannel *channel)
{
    ssize_t n = read(channel->fd, channel->command, sizeof channel->command);
    uint32_t code;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        be_gone(channel, n ? strerror(errno) : "it was closed");
        return;
    }
    channel->len = (size_t)n;
    if (is_answered_here(channel, &code)) {
        answer(channel, code);
        vt_wipe(channel->command, channel->len);
        return;
    }
    channel->turn = TURN_READ;
    watch(channel);
    channel->events->command(channel->ctx);
}

/* The driver's read waits when there is nothing, whatever the descriptor's flags say: hence the look first. */
static void on_poll(uv_poll_t *handle, int status, int events VT_UNUSED)
{
    struct proxychannel *channel = handle->data;
    struct pollfd fd = {.fd = channel->fd, .events = POLLIN};

    if (status < 0 || poll(&fd, 1, 0) < 0)
        be_gone(channel, status < 0 ? uv_strerror(status) : strerror(errno));
    else if (fd.revents & (POLLHUP | POLLERR | POLLNVAL))
        be_gone(channel, "the kernel has removed it");
    else if (channel->turn == TURN_IDLE && (fd.revents & POLLIN))
        read_command(channel);
}

/* ---- Interface ---- */

int proxychannel_new(struct proxychannel **channel_out, uv_loop_t *loop, int fd, const struct proxychannel_events *events,
                     void *ctx, struct vt_why *why)
{
    struct proxychannel *channel = VT_NEW(struct proxychannel);
    int err = !channel ? VT_ENOMEM : uv_poll_init(loop, &channel->poll, fd) ? VT_EIO : VT_OK;

    if (err) {
        close(fd);
        vt_free(channel);
        return vt_fail(why, err, "proxy: the device's descriptor cannot be polled: %s", vt_err_text(err));
    }
    channel->poll.data = channel;
    channel->fd = fd;
    channel->events = events;
    channel->ctx = ctx;
    watch(channel);
    *channel_out = channel;
    return VT_OK;
}

bool proxychannel_take(struct proxychannel *channel, struct courier_request *request)
{
    if (channel->turn != TURN_READ)
        return false;
    channel->turn = TURN_TAKEN;
    *request = (struct courier_request){.locality = channel->locality, .bytes = channel->command, .len = channel->len};
    return true;
}

void proxychannel_respond(struct proxychannel *channel, const uint8_t *bytes, size_t len)
{
    if (channel->turn != TURN_TAKEN)
        return;
    vt_wipe(channel->command, channel->len);
    channel->turn = TURN_IDLE;
    write_response(channel, bytes, len);
    watch(channel);
}

static void on_closed(uv_handle_t *handle)
{
    struct proxychannel *channel = handle->data;

    close(channel->fd);
    vt_free_wiped(channel, sizeof *channel);
}

void proxychannel_close(struct proxychannel *channel)
{
    channel->turn = TURN_OVER;
    uv_close((uv_handle_t *)&channel->poll, on_closed);
}
