/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is carried yet: every blob is refused, and the log says what to do instead. */
#include "shim-linux/stateblob.h"

#include "server/base/alloc.h"
#include "server/base/log.h"

struct stateblob {
    bool said; /* the refusal: once for each guest, not for each of the monitor's attempts */
};

int stateblob_new(struct stateblob **blobs)
{
    *blobs = VT_NEW(struct stateblob);
    return *blobs ? VT_OK : VT_ENOMEM;
}

void stateblob_free(struct stateblob *blobs)
{
    vt_free(blobs);
}

bool stateblob_is_available(const struct stateblob *blobs VT_UNUSED)
{
    return false;
}

static int refuse(struct stateblob *blobs, const char *what)
{
    if (!blobs->said)
        vt_error("swtpm: the monitor %s: this build does not carry a TPM from host to host by the monitor; stop the guest "
                 "and move its instance with `vtpmctl instance export` and `import`", what);
    blobs->said = true;
    return VT_ENOTSUP;
}

int stateblob_get(struct stateblob *blobs, enum stateblob_type type VT_UNUSED, uint32_t flags VT_UNUSED)
{
    return refuse(blobs, "asks for the TPM's state");
}

int stateblob_set(struct stateblob *blobs, enum stateblob_type type VT_UNUSED, uint32_t flags VT_UNUSED,
                  const uint8_t *bytes VT_UNUSED, size_t len VT_UNUSED)
{
    return refuse(blobs, "brings a TPM's state");
}

bool stateblob_is_set(const struct stateblob *blobs VT_UNUSED)
{
    return false;
}

int stateblob_init(struct stateblob *blobs, uint32_t flags VT_UNUSED)
{
    return refuse(blobs, "brings a TPM's state");
}

/* Nothing has been given away: there is nothing to take back. */
int stateblob_lock(struct stateblob *blobs VT_UNUSED, uint32_t retries VT_UNUSED)
{
    return VT_OK;
}

bool stateblob_take(struct stateblob *blobs VT_UNUSED, struct lane_request *request VT_UNUSED)
{
    return false;
}

void stateblob_respond(struct stateblob *blobs VT_UNUSED, const struct lane_response *response VT_UNUSED)
{
}

bool stateblob_result(struct stateblob *blobs VT_UNUSED, struct stateblob_result *result)
{
    *result = (struct stateblob_result){0};
    return true;
}

void stateblob_forget(struct stateblob *blobs)
{
    blobs->said = false;
}
