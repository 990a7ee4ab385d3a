/* SPDX-License-Identifier: Apache-2.0 */
/* vtpm-shim: options, then shim_run. */
#include <stdio.h>
#include <sys/resource.h>

#include "server/base/log.h"
#include "shim-linux/shim.h"

static void on_log(enum vt_log_level level, const char *line)
{
    const char *word = level <= VT_LOG_ERROR ? "error: " : level == VT_LOG_WARNING ? "warning: " : "";

    fprintf(stderr, "vtpm-shim: %s%s\n", word, line);
}

/* Keys are in memory: no core file. */
static void forbid_core_dumps(void)
{
    const struct rlimit none = {0, 0};

    (void)!setrlimit(RLIMIT_CORE, &none);
}

int main(int argc, char **argv)
{
    struct vt_why why = {{0}};
    struct options options;
    enum options_then then;
    int err = options_read(&options, &then, argc, argv, &why);

    if (!err && then == OPTIONS_HELP)
        return fputs(options_help(), stdout) < 0;
    if (!err && then == OPTIONS_VERSION)
        return printf("vtpm-shim %s\n", VTPM_VERSION) < 0;
    forbid_core_dumps();
    vt_log_to(on_log, VT_LOG_INFO);
    if (!err)
        err = shim_run(&options, &why);
    if (err)
        fprintf(stderr, "vtpm-shim: %s\n", why.text[0] ? why.text : vt_err_text(err));
    return err ? vt_err_exit(err) : 0;
}
