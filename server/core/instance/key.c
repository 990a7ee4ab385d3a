/* SPDX-License-Identifier: Apache-2.0 */
/* A key for a guest: its engine has stopped in the middle of the command and waits (docs/architecture.md, "Keys"). */
#include "server/core/instance/instance_priv.h"

static void on_key(void *arg, int err, const struct cr_rsa_key *key)
{
    struct instance *i = arg;

    i->wish = NULL;
    instance_tell_key(i, err, key);
}

/* A second one for the same command would be without end; so the engine that asks for it is as good as crashed. */
bool instance_wants_key(struct instance *i, const uint8_t *payload, size_t len)
{
    struct job *job = instance_current(i);
    struct rd r = rd_from(payload, len);
    CR_SECRET_RSA key;
    unsigned bits;
    uint32_t e;
    int err;

    if (job->what.kind != INSTANCE_EXECUTE || job->keys == SANDBOX_KEYS_MAX || !sandbox_rd_key_ask(&r, &bits, &e))
        return false;
    job->keys++;
    err = keypool_ask(i->broker->keypool, &i->node.uuid, bits, e, &key, on_key, i, &i->wish);
    if (err == VT_EAGAIN)
        i->step = STEP_KEYING;
    else
        instance_tell_key(i, err, err ? NULL : &key);
    return true;
}
