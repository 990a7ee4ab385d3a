/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor's requests mean: the TPM of one machine as its control channel sees it (started, stopped), and what of
 * it the server has to hear. No I/O: the front end brings requests and carries answers and deeds. One request at a time;
 * it is answered before the next one is taken, except SHUTDOWN, which a monitor must not be kept by. Invariant: commands
 * reach the server only after an INIT (or a start) that the server has carried out. Loop thread.
 *
 * Answers are those of swtpm 0.7 in length and code (docs/qemu.md lists where they are not), since monitors read so many
 * bytes as they expect, and wait for as long.
 */
#ifndef VTPM_SHIM_MONITOR_H
#define VTPM_SHIM_MONITOR_H

#include "shim-linux/ctrlmsg.h"
#include "shim-linux/lane.h"
#include "shim-linux/stateblob.h"

struct monitor;

/* Called within the calls below; none of those may be called from them. */
struct monitor_ops {
    /* To the request under way; tail may be long, and NULL. Nobody may be there any more. */
    void (*answer)(void *ctx, const uint8_t *head, size_t len, const uint8_t *tail, size_t tail_len);
    /* SET_DATAFD: takes the descriptor that came with the request. A TPM code. */
    uint32_t (*data)(void *ctx);
    /* CANCEL: the command under way, if any. */
    void (*cancel)(void *ctx);
    /* SHUTDOWN was answered: both channels are closed. */
    void (*shut_down)(void *ctx);
};

struct monitor_config {
    bool is_running;  /* without INIT: powered on at once if it is off */
    int startup;      /* enum Vtpm__Startup, of that power on alone */
    const char *target; /* as stateblob_new has it, like the next one */
    bool with_state;
};

/* Borrows ops for life. VT_ENOMEM. Returns owned. */
int monitor_new(struct monitor **monitor, const struct monitor_config *config, const struct monitor_ops *ops,
                void *ctx) VT_USE_RESULT;
void monitor_free(struct monitor *monitor);

/* ---- Control channel ---- */

/* The next request may be handed in. */
bool monitor_is_free(const struct monitor *monitor);
/* Its bytes must stay until monitor_is_free, or monitor_hang_up. */
void monitor_request(struct monitor *monitor, const struct ctrl_request *request);
/* The answer to what cannot be a request, after which the connection is closed. */
void monitor_refuse(struct monitor *monitor, const struct ctrl_request *request);
/* Who sent the request under way is gone: what the server was not told of yet does not happen. */
void monitor_hang_up(struct monitor *monitor);
/* The machine is gone, as by SHUTDOWN: its TPM is powered off, unless what it is was stored for another host. */
void monitor_leave(struct monitor *monitor);

/* ---- Lane ---- */

/* A deed, or what a blob needs. False: none; then a command may be next. */
bool monitor_take(struct monitor *monitor, struct courier_request *request) VT_USE_RESULT;
/* What was taken last was monitor_take's. */
void monitor_respond(struct monitor *monitor, const struct courier_response *response);
/* Commands go to the TPM; else TPM_FAIL is their answer. */
bool monitor_is_running(const struct monitor *monitor);
/* Its locality (0 to 4) is used by a command from now on, which may change what STORE_VOLATILE kept. */
uint32_t monitor_command(struct monitor *monitor);

#endif
