/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/upstream_vchan.h"

#include "server/base/text.h"

#define DOMID_MAX 0x7fef /* what the hypervisor gives to domains */

static int check_host(struct vt_why *why);

int upstream_vchan_parse(uint32_t *domid, const char *rest, struct vt_why *why)
{
    uint64_t value;

    if (!vt_parse_u64(&value, rest, DOMID_MAX))
        return vt_fail(why, VT_EUSAGE, "--upstream vchan:%.40s: not the number of a domain (0 to %d): xl list shows it",
                       rest, DOMID_MAX);
    *domid = (uint32_t)value;
    return check_host(why);
}

#ifdef VTPM_HAVE_XEN

#include <unistd.h>

#include "server/base/alloc.h"
#include "server/xen/site.h"
#include "server/xen/vchan.h"

struct vchan_dial {
    uv_async_t async;
    struct vchan_call *call;
    vchan_dial_fn fn;
    void *arg;
    /* Written by the store's thread before it wakes the loop up. */
    int fd;
    struct vt_why why;
};

/* One for all upstreams of the process; there from the first attempt on, for as long as there are upstreams. */
static struct vchan_client *client;
static unsigned users;

static int check_host(struct vt_why *why)
{
    return site_check("", SITE_CLIENT, "--upstream vchan", why);
}

void upstream_vchan_enter(void)
{
    users++;
}

void upstream_vchan_leave(void)
{
    if (--users)
        return;
    vchan_client_free(client);
    client = NULL;
}

static void on_closed(uv_handle_t *handle)
{
    vt_free(VT_CONTAINER(handle, struct vchan_dial, async));
}

/* The store's thread. */
static void on_answer(void *arg, int fd, int err, const struct vt_why *why)
{
    struct vchan_dial *dial = arg;

    dial->fd = fd;
    dial->why = *why;
    if (err && !dial->why.text[0])
        (void)vt_fail(&dial->why, err, "%s", vt_err_text(err));
    uv_async_send(&dial->async);
}

static void on_async(uv_async_t *async)
{
    struct vchan_dial *dial = VT_CONTAINER(async, struct vchan_dial, async);

    vchan_call_end(dial->call);
    uv_close((uv_handle_t *)async, on_closed);
    dial->fn(dial->arg, dial->fd, dial->why.text);
}

void vchan_dial_cancel(struct vchan_dial *dial)
{
    vchan_call_end(dial->call);
    if (dial->fd >= 0)
        close(dial->fd);
    uv_close((uv_handle_t *)&dial->async, on_closed);
}

int vchan_dial(struct vchan_dial **out, uv_loop_t *loop, uint32_t domid, vchan_dial_fn fn, void *arg,
               struct vt_why *why)
{
    struct vchan_dial *dial;
    int err = client ? VT_OK : vchan_client_new(&client, why);

    if (err)
        return err;
    dial = VT_NEW(struct vchan_dial);
    if (!dial || uv_async_init(loop, &dial->async, on_async)) {
        vt_free(dial);
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    }
    dial->fn = fn;
    dial->arg = arg;
    dial->fd = -1;
    if (vchan_client_connect(&dial->call, client, domid, on_answer, dial)) {
        uv_close((uv_handle_t *)&dial->async, on_closed);
        return vt_fail(why, VT_ENOMEM, "%s", vt_err_text(VT_ENOMEM));
    }
    *out = dial;
    return VT_OK;
}

#else

static int check_host(struct vt_why *why)
{
    return vt_fail(why, VT_EUSAGE,
                   "--upstream vchan: this build has no Xen support: apt-get install libxen-dev and build again, or use "
                   "unix:PATH or tcp:HOST:PORT");
}

void upstream_vchan_enter(void)
{
}

void upstream_vchan_leave(void)
{
}

int vchan_dial(struct vchan_dial **dial VT_UNUSED, uv_loop_t *loop VT_UNUSED, uint32_t domid VT_UNUSED,
               vchan_dial_fn fn VT_UNUSED, void *arg VT_UNUSED, struct vt_why *why)
{
    return vt_fail(why, VT_ENOTSUP, "%s", vt_err_text(VT_ENOTSUP));
}

void vchan_dial_cancel(struct vchan_dial *dial VT_UNUSED)
{
}

#endif
