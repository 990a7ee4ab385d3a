/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-minios/stubdom.h"

#include "server/base/log.h"
#include "shim-minios/backend.h"
#include "shim-minios/platform.h"

/* No words of ours stand in the way of a domain that is to end. */
#define LOOK_MS 60000

static void run(struct backend *backend)
{
    vt_notice("stubdom: ready");
    while (!platform_stopping()) {
        uint64_t wake_ms = platform_now_ms() + LOOK_MS;

        if (backend_turn(backend, &wake_ms))
            wake_ms = 0;
        platform_wait(wake_ms);
    }
}

int stubdom_run(void)
{
    static struct settings settings;
    static struct backend backend;
    struct vt_why why = {{0}};
    int err;

    vt_log_to(platform_log, VT_LOG_INFO);
    vt_notice("stubdom: vtpm-stubdom " VTPM_VERSION);
    err = settings_begin(&settings, &why);
    if (!err) {
        err = backend_start(&backend, &settings, &why);
        if (!err)
            run(&backend);
        backend_stop(&backend);
    }
    settings_wipe(&settings);
    if (err)
        vt_error("stubdom: %s", why.text);
    return vt_err_exit(err);
}
