/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TPM 1.2 Part 3, chapter 25: monotonic counters. A countID is its counter's place in the table. All counters
 * share one number line: a new one begins past the highest value that any has ever had. Between two
 * TPM_Startup(ST_CLEAR) only one of them is incremented.
 */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"

static struct counter *counter_find(struct tpm *tpm, uint32_t id)
{
    return id < COUNTERS_MAX && tpm->perm.counters[id].used ? &tpm->perm.counters[id] : NULL;
}

struct auth_entity counter_entity(struct tpm *tpm, uint32_t id)
{
    const struct counter *counter = counter_find(tpm, id);

    return auth_entity_number(TPM_ET_COUNTER, id, counter ? &counter->auth : NULL);
}

static uint32_t free_place(const struct tpm *tpm)
{
    uint32_t id = 0;

    while (id < tpm->perm.profile.counters && tpm->perm.counters[id].used)
        id++;
    return id;
}

/* TPM 1.2 Part 3, 25.1 TPM_CreateCounter */
tpm_rc cmd_create_counter(struct cmd *c, const struct create_counter_in *in, struct create_counter_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    uint32_t id = free_place(c->tpm);
    VT_SECRET_AUTH auth = {{0}};
    tpm_rc rc;

    /* 1-3. The pipeline proved the owner by an OSAP session, which ends. */
    rc = cmd_decrypt_auth(c, 0, false, &in->enc_auth, &auth);
    if (rc)
        return rc;
    /* 4. */
    if (id == perm->profile.counters || perm->counter_highest == UINT32_MAX)
        return TPM_RESOURCES;
    /* 5-8. */
    perm->counters[id] = (struct counter){
        .used = true,
        .value = {.label = in->label, .counter = ++perm->counter_highest},
        .auth = auth,
    };
    out->count_id = id;
    out->counter_value = perm->counters[id].value;
    return TPM_SUCCESS;
}

/* Actions 1-2: the first one after a start is the one. */
static bool may_increment(const struct tpm *tpm, uint32_t id)
{
    return tpm->stclear.counter_id == COUNTER_NONE || tpm->stclear.counter_id == id + 1;
}

/* TPM 1.2 Part 3, 25.2 TPM_IncrementCounter */
tpm_rc cmd_increment_counter(struct cmd *c, const struct increment_counter_in *in,
                             struct increment_counter_out *out)
{
    struct permanent *perm = &c->tpm->perm;
    struct counter *counter = counter_find(c->tpm, in->count_id);
    struct auth_entity entity;
    tpm_rc rc;

    if (!counter || !may_increment(c->tpm, in->count_id))
        return TPM_BAD_COUNTER;
    entity = counter_entity(c->tpm, in->count_id);
    rc = cmd_check_auth(c, 0, &entity);
    if (rc)
        return rc;
    /* It would begin again below what it has been. */
    if (counter->value.counter == UINT32_MAX)
        return TPM_RESOURCES;
    c->tpm->stclear.counter_id = in->count_id + 1;
    /* 3-4. */
    counter->value.counter++;
    perm->counter_highest = VT_MAX(perm->counter_highest, counter->value.counter);
    out->count = counter->value;
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 25.3 TPM_ReadCounter */
tpm_rc cmd_read_counter(struct cmd *c, const struct read_counter_in *in, struct read_counter_out *out)
{
    const struct counter *counter = counter_find(c->tpm, in->count_id);

    /* 1. */
    if (!counter)
        return TPM_BAD_COUNTER;
    /* 2. */
    out->count = counter->value;
    return TPM_SUCCESS;
}

/* Actions 2-4 of 25.4, 3-5 of 25.5: it, its sessions; if it was the one, there is none until the next start.
 */
static void release(struct tpm *tpm, uint32_t id)
{
    struct auth_entity entity = counter_entity(tpm, id);

    session_close_entity(tpm, entity.type, entity.id);
    vt_wipe(&tpm->perm.counters[id], sizeof tpm->perm.counters[id]);
    if (tpm->stclear.counter_id == id + 1)
        tpm->stclear.counter_id = COUNTER_RELEASED;
}

/* TPM 1.2 Part 3, 25.4 TPM_ReleaseCounter */
tpm_rc cmd_release_counter(struct cmd *c, const struct release_counter_in *in,
                           struct release_counter_out *out)
{
    struct auth_entity entity;
    tpm_rc rc;

    (void)out;
    if (!counter_find(c->tpm, in->count_id))
        return TPM_BAD_COUNTER;
    /* 1. */
    entity = counter_entity(c->tpm, in->count_id);
    rc = cmd_check_auth(c, 0, &entity);
    if (rc)
        return rc;
    release(c->tpm, in->count_id);
    return TPM_SUCCESS;
}

/* TPM 1.2 Part 3, 25.5 TPM_ReleaseCounterOwner */
tpm_rc cmd_release_counter_owner(struct cmd *c, const struct release_counter_owner_in *in,
                                 struct release_counter_owner_out *out)
{
    (void)out;
    /* 1 was the pipeline's. 2. */
    if (!counter_find(c->tpm, in->count_id))
        return TPM_BAD_COUNTER;
    release(c->tpm, in->count_id);
    return TPM_SUCCESS;
}
