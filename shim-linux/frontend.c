/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/frontend.h"

#ifndef VTPM_HAVE_XEN
const struct frontend_kind frontend_xen = {
    .scheme = "xen",
    .form = "xen",
    .missing = "this build has no Xen support: apt-get install libxen-dev and build again, or use socket:...",
};
#endif

static const struct frontend_kind *const kinds[] = {&frontend_socket, &frontend_xen, &frontend_swtpm, &frontend_proxy};

static bool names(const char *spec, const char *scheme, const char **rest)
{
    size_t len = strlen(scheme);

    if (strncmp(spec, scheme, len) != 0 || (spec[len] && spec[len] != ':'))
        return false;
    *rest = spec[len] ? spec + len + 1 : spec + len;
    return true;
}

int frontend_find(const char *spec, const struct frontend_kind **kind, const char **rest, struct vt_why *why)
{
    for (size_t i = 0; i < VT_COUNT(kinds); i++) {
        if (!names(spec, kinds[i]->scheme, rest))
            continue;
        if (!kinds[i]->start)
            return vt_fail(why, VT_EUSAGE, "--frontend %s: %s", spec, kinds[i]->missing);
        *kind = kinds[i];
        return VT_OK;
    }
    return vt_fail(why, VT_EUSAGE, "--frontend %s: not one of %s, %s, %s, %s", spec, frontend_socket.form,
                   frontend_xen.form, frontend_swtpm.form, frontend_proxy.form);
}
