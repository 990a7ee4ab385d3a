/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2 Part 3, chapter 7 and Part 2, chapter 21: TPM_GetCapability. */
#include "server/engine/auth.h"
#include "server/engine/handlers.h"
#include "server/engine/transport.h"

#define RESPONSE_MOST 2048

#define VENDOR     "VTPM"
#define SPEC_LEVEL 2
#define ERRATA     3
#define NO_COUNTER 0xFFFFFFFFu
/* Part 2, 21.1: contexts count up to 2^32 - 1 apart. */
#define CONTEXT_DISTANCE 0xFFFFFFFFu
/*
 * Part 2, 4.6 TPM_STARTUP_EFFECTS: TPM_Startup(ST_STATE) ends contexts, transports, hashes, authorisation and
 * DAA sessions; (ST_CLEAR) zeroes auditDigest. Keys stay.
 */
#define STARTUP_EFFECTS 0x0000014Fu

/* The largest sub-capability is a TPM_KEY_PARMS; number is the value of a 2 or 4 byte one. */
struct sub_cap {
    struct rd bytes;
    uint32_t number;
};

static tpm_rc put_bool(struct wr *w, bool value)
{
    wr_put8(w, value);
    return TPM_SUCCESS;
}

static tpm_rc put_number(struct wr *w, uint32_t value)
{
    wr_put32(w, value);
    return TPM_SUCCESS;
}

/* ---- Areas with one answer ---- */

static tpm_rc cap_ord(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    return put_bool(w, cmd_is_implemented(c->tpm, sub->number));
}

static tpm_rc cap_alg(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    (void)c;
    return put_bool(w, sub->number == TPM_ALG_RSA);
}

/* A protocol is there if an ordinal that needs it is. */
static tpm_rc cap_pid(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    static const uint32_t ordinal_of[] = {
        [TPM_PID_OIAP] = TPM_ORD_OIAP,
        [TPM_PID_OSAP] = TPM_ORD_OSAP,
        [TPM_PID_ADIP] = TPM_ORD_OSAP,
        [TPM_PID_ADCP] = TPM_ORD_ChangeAuth,
        [TPM_PID_OWNER] = TPM_ORD_TakeOwnership,
        [TPM_PID_DSAP] = TPM_ORD_DSAP,
        [TPM_PID_TRANSPORT] = TPM_ORD_EstablishTransport,
    };

    return put_bool(w, sub->number < VT_COUNT(ordinal_of) && cmd_is_implemented(c->tpm, ordinal_of[sub->number]));
}

static tpm_rc cap_flag(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    if (sub->number == TPM_CAP_FLAG_PERMANENT)
        wr_permanent_flags(w, &c->tpm->perm.flags);
    else if (sub->number == TPM_CAP_FLAG_VOLATILE)
        wr_stclear_flags(w, &c->tpm->stclear.flags);
    else
        return TPM_BAD_MODE;
    return TPM_SUCCESS;
}

static tpm_rc cap_version(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    (void)c;
    (void)sub;
    return put_number(w, 0x01010000);
}

struct tpm_cap_version_info tpm_version_info(void)
{
    struct tpm_cap_version_info info = {
        .version = {.major = 1, .minor = 2},
        .spec_level = SPEC_LEVEL,
        .errata_rev = ERRATA,
    };

    memcpy(info.tpm_vendor_id.bytes, VENDOR, sizeof info.tpm_vendor_id.bytes);
    return info;
}

static tpm_rc cap_version_val(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    struct tpm_cap_version_info info = tpm_version_info();

    (void)c;
    (void)sub;
    wr_cap_version_info(w, &info);
    return TPM_SUCCESS;
}

static tpm_rc cap_check_loaded(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    struct tpm_key_parms parms;
    tpm_rc rc;

    rd_key_parms(&sub->bytes, &parms);
    rc = rd_result(&sub->bytes);
    if (rc)
        return rc;
    return put_bool(w, parms.algorithm_id == TPM_ALG_RSA && parms.form == TPM_PARMS_RSA &&
                           parms.parms.rsa.key_length <= CR_RSA_MAX * 8 && key_free_slots(c->tpm) > 0);
}

/* No symmetric modes for callers' data. */
static tpm_rc cap_sym_mode(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    (void)c;
    (void)sub;
    return put_bool(w, false);
}

static tpm_rc cap_key_status(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    const struct key_slot *slot = !key_handle_reserved(sub->number) ? key_find(c->tpm, sub->number) : NULL;

    return slot ? put_bool(w, slot->owner_evict) : TPM_INVALID_KEYHANDLE;
}

static tpm_rc cap_nv_list(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    const struct nv_store *nv = &c->tpm->perm.nv;

    (void)sub;
    for (unsigned i = 0; i < nv->count; i++)
        wr_put32(w, nv->areas[i].pub.nv_index);
    return TPM_SUCCESS;
}

static tpm_rc cap_nv_index(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    const struct nv_area *area = nv_find(c->tpm, sub->number);

    if (!area)
        return TPM_BADINDEX;
    wr_nv_data_public(w, &area->pub);
    return TPM_SUCCESS;
}

static tpm_rc cap_trans_alg(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    return put_bool(w, cmd_is_implemented(c->tpm, TPM_ORD_EstablishTransport) &&
                           (sub->number == TPM_ALG_AES128 || sub->number == TPM_ALG_MGF1));
}

static tpm_rc cap_trans_es(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    return put_bool(w, cmd_is_implemented(c->tpm, TPM_ORD_EstablishTransport) &&
                           (sub->number == TPM_ES_SYM_CTR || sub->number == TPM_ES_SYM_OFB));
}

static tpm_rc cap_auth_encrypt(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    (void)c;
    return put_bool(w, sub->number == TPM_ALG_XOR || sub->number == TPM_ALG_AES128);
}

static tpm_rc cap_select_size(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    struct tpm_select_size size;
    tpm_rc rc;

    (void)c;
    rd_select_size(&sub->bytes, &size);
    rc = rd_result(&sub->bytes);
    if (rc)
        return rc;
    /* 1.1 and 1.2 differ in structures, not in their PCRs. A selection of no byte selects nothing. */
    if (size.major != 1 || size.minor < 1 || size.minor > 2)
        return TPM_BAD_PARAMETER;
    return put_bool(w, size.req_size > 0 && size.req_size <= TPM_PCR_BYTES);
}

/* ---- Handles ---- */

/* Part 2, 5.7 TPM_KEY_HANDLE_LIST: a count and so many handles. */
struct handle_list {
    struct wr *w;
    size_t begin;
    uint16_t count;
};

static struct handle_list list_begin(struct wr *w)
{
    struct handle_list list = {.w = w, .begin = w->len};

    wr_put16(w, 0);
    return list;
}

static void list_put(struct handle_list *list, uint32_t handle)
{
    wr_put32(list->w, handle);
    list->count++;
}

static void list_add(struct handle_list *list, uint32_t handle)
{
    if (handle)
        list_put(list, handle);
}

static tpm_rc list_end(struct handle_list *list)
{
    struct wr count = wr_to(list->w->base + list->begin, 2);

    wr_put16(&count, list->count);
    return TPM_SUCCESS;
}

static tpm_rc cap_key_handle(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    struct handle_list list = list_begin(w);

    (void)sub;
    for (size_t i = 0; i < KEY_SLOTS_MAX; i++)
        list_add(&list, c->tpm->keys[i].handle);
    return list_end(&list);
}

static tpm_rc cap_handle(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    const struct stany *stany = &c->tpm->stany;
    struct handle_list list;

    if (sub->number == TPM_RT_KEY)
        return cap_key_handle(c, sub, w);
    list = list_begin(w);
    switch (sub->number) {
    case TPM_RT_AUTH:
        for (size_t i = 0; i < SESSIONS_MAX; i++)
            list_add(&list, stany->sessions[i].handle);
        break;
    case TPM_RT_CONTEXT:
        for (size_t i = 0; i < SAVED_CONTEXTS_MAX; i++)
            list_add(&list, stany->context_list[i]);
        break;
    case TPM_RT_COUNTER:
        for (uint32_t id = 0; id < COUNTERS_MAX; id++)
            if (c->tpm->perm.counters[id].used)
                list_put(&list, id);
        break;
    case TPM_RT_TRANS:
        for (size_t i = 0; i < TRANSPORTS_MAX; i++)
            list_add(&list, stany->transports[i].session.handle);
        break;
    case TPM_RT_DAA_TPM:
        for (size_t i = 0; i < DAA_SESSIONS_MAX; i++)
            list_add(&list, stany->daa[i].handle);
        break;
    default:
        return TPM_BAD_PARAMETER;
    }
    return list_end(&list);
}

/* ---- Dictionary attacks ---- */

static tpm_rc cap_da_logic(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    const struct tpm *tpm = c->tpm;
    uint8_t state = da_locked(tpm) ? TPM_DA_STATE_ACTIVE : TPM_DA_STATE_INACTIVE;
    struct tpm_da_action_type action = {.actions = TPM_DA_ACTION_TIMEOUT};
    struct tpm_da_info_limited limited = {.state = state, .action_at_threshold = action};
    struct tpm_da_info info = {
        .state = state,
        .current_count = (uint16_t)VT_MIN(tpm->perm.da.failures, UINT16_MAX),
        .threshold_count = DA_THRESHOLD,
        .action_at_threshold = action,
        /* Seconds, rounded up: what is left must not read as nothing. */
        .action_depend_value = (uint32_t)((da_left_us(tpm) + 999999) / 1000000),
    };

    /* One count for all kinds of secrets: the entity type only has to be one. */
    if (!sub->number || sub->number > TPM_ET_OPERATOR)
        return TPM_BAD_PARAMETER;
    if (tpm->perm.flags.disable_full_da_logic_info)
        wr_da_info_limited(w, &limited);
    else
        wr_da_info(w, &info);
    return TPM_SUCCESS;
}

/* ---- Properties (Part 2, 21.2) ---- */

static uint32_t free_contexts(const struct tpm *tpm)
{
    uint32_t count = 0;

    for (size_t i = 0; i < tpm->perm.profile.saved_contexts; i++)
        count += !tpm->stany.context_list[i];
    return count;
}

static uint32_t free_counters(const struct tpm *tpm)
{
    uint32_t count = 0;

    for (size_t i = 0; i < tpm->perm.profile.counters; i++)
        count += !tpm->perm.counters[i].used;
    return count;
}

static uint32_t active_counter(const struct tpm *tpm)
{
    uint32_t active = tpm->stclear.counter_id;

    return active == COUNTER_NONE || active == COUNTER_RELEASED ? NO_COUNTER : active - 1;
}

/* Part 2, 21.2: arrays without a count, in microseconds. A command may have to wake an idle instance and wait
 * for its record to be on disk. */
static tpm_rc put_times(struct wr *w, const uint32_t *times, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wr_put32(w, times[i]);
    return TPM_SUCCESS;
}

static const uint32_t tis_timeouts[] = {750000, 2000000, 750000, 750000};
static const uint32_t durations[] = {2000000, 5000000, 60000000};

static bool simple_property(const struct tpm *tpm, uint32_t property, uint32_t *value)
{
    const struct tpm_profile *profile = &tpm->perm.profile;
    uint32_t vendor = (uint32_t)VENDOR[0] << 24 | (uint32_t)VENDOR[1] << 16 | (uint32_t)VENDOR[2] << 8 |
                      (uint32_t)VENDOR[3];
    const struct {
        uint32_t property, value;
    } rows[] = {
        {TPM_CAP_PROP_PCR, TPM_NUM_PCR},
        {TPM_CAP_PROP_DIR, 1},
        {TPM_CAP_PROP_MANUFACTURER, vendor},
        {TPM_CAP_PROP_KEYS, key_free_slots(tpm)},
        {TPM_CAP_PROP_MIN_COUNTER, 0},
        {TPM_CAP_PROP_AUTHSESS, session_free_slots(tpm)},
        {TPM_CAP_PROP_TRANSSESS, transport_free_slots(tpm)},
        {TPM_CAP_PROP_COUNTERS, free_counters(tpm)},
        {TPM_CAP_PROP_MAX_AUTHSESS, profile->auth_sessions},
        {TPM_CAP_PROP_MAX_TRANSSESS, profile->transport_sessions},
        {TPM_CAP_PROP_MAX_COUNTERS, profile->counters},
        {TPM_CAP_PROP_MAX_KEYS, profile->key_slots},
        {TPM_CAP_PROP_CONTEXT, free_contexts(tpm)},
        {TPM_CAP_PROP_MAX_CONTEXT, profile->saved_contexts},
        {TPM_CAP_PROP_FAMILYROWS, profile->family_rows},
        {TPM_CAP_PROP_STARTUP_EFFECT, STARTUP_EFFECTS},
        {TPM_CAP_PROP_DELEGATE_ROW, profile->delegate_rows},
        {TPM_CAP_PROP_MAX_DAASESS, profile->daa_sessions},
        {TPM_CAP_PROP_DAASESS, daa_free_slots(tpm)},
        {TPM_CAP_PROP_CONTEXT_DIST, CONTEXT_DISTANCE},
        {TPM_CAP_PROP_SESSIONS, session_free_slots(tpm) + transport_free_slots(tpm)},
        {TPM_CAP_PROP_MAX_SESSIONS, (uint32_t)profile->auth_sessions + profile->transport_sessions},
        {TPM_CAP_PROP_ACTIVE_COUNTER, active_counter(tpm)},
        {TPM_CAP_PROP_NV_AVAILABLE, nv_free_bytes(tpm)},
        {TPM_CAP_PROP_INPUT_BUFFER, TPM_BUFFER},
    };

    for (size_t i = 0; i < VT_COUNT(rows); i++) {
        if (rows[i].property != property)
            continue;
        *value = rows[i].value;
        return true;
    }
    return false;
}

static tpm_rc cap_property(struct cmd *c, struct sub_cap *sub, struct wr *w)
{
    const struct permanent *perm = &c->tpm->perm;
    uint32_t value;

    switch (sub->number) {
    case TPM_CAP_PROP_OWNER:
        return put_bool(w, perm->owned);
    case TPM_CAP_PROP_DAA_INTERRUPT:
        return put_bool(w, true);
    case TPM_CAP_PROP_CMK_RESTRICTION:
        wr_copy(w, perm->restrict_delegate, sizeof perm->restrict_delegate);
        return TPM_SUCCESS;
    case TPM_CAP_PROP_TIS_TIMEOUT:
        return put_times(w, tis_timeouts, VT_COUNT(tis_timeouts));
    case TPM_CAP_PROP_DURATION:
        return put_times(w, durations, VT_COUNT(durations));
    default:
        return simple_property(c->tpm, sub->number, &value) ? put_number(w, value) : TPM_BAD_MODE;
    }
}

/* ---- TPM_GetCapability ---- */

static const struct area {
    uint32_t area;
    uint8_t sub_len; /* 0: any length */
    bool failed_too; /* answers also in failure mode */
    tpm_rc (*get)(struct cmd *c, struct sub_cap *sub, struct wr *w);
} areas[] = {
    {TPM_CAP_ORD, 4, false, cap_ord},
    {TPM_CAP_ALG, 4, false, cap_alg},
    {TPM_CAP_PID, 2, false, cap_pid},
    {TPM_CAP_FLAG, 4, false, cap_flag},
    {TPM_CAP_PROPERTY, 4, false, cap_property},
    {TPM_CAP_VERSION, 0, true, cap_version},
    {TPM_CAP_KEY_HANDLE, 0, false, cap_key_handle},
    {TPM_CAP_CHECK_LOADED, 0, false, cap_check_loaded},
    {TPM_CAP_SYM_MODE, 4, false, cap_sym_mode},
    {TPM_CAP_KEY_STATUS, 4, false, cap_key_status},
    {TPM_CAP_NV_LIST, 0, false, cap_nv_list},
    {TPM_CAP_NV_INDEX, 4, false, cap_nv_index},
    {TPM_CAP_TRANS_ALG, 4, false, cap_trans_alg},
    {TPM_CAP_HANDLE, 4, false, cap_handle},
    {TPM_CAP_TRANS_ES, 2, false, cap_trans_es},
    {TPM_CAP_AUTH_ENCRYPT, 4, false, cap_auth_encrypt},
    {TPM_CAP_SELECT_SIZE, 0, false, cap_select_size},
    {TPM_CAP_DA_LOGIC, 2, false, cap_da_logic},
    {TPM_CAP_VERSION_VAL, 0, true, cap_version_val},
};

/* Action 3: what a TPM in failure mode still tells. */
static bool told_in_failure(const struct area *area, uint32_t number)
{
    return area->failed_too || (area->area == TPM_CAP_PROPERTY &&
                                (number == TPM_CAP_PROP_MANUFACTURER || number == TPM_CAP_PROP_DURATION ||
                                 number == TPM_CAP_PROP_TIS_TIMEOUT));
}

static const struct area *area_find(uint32_t number)
{
    for (size_t i = 0; i < VT_COUNT(areas); i++)
        if (areas[i].area == number)
            return &areas[i];
    return NULL;
}

tpm_rc cmd_read_capability(struct cmd *c, uint32_t number, const struct tpm_blob *sub_cap,
                           struct tpm_blob *resp)
{
    const struct area *area = area_find(number);
    struct sub_cap sub = {.bytes = rd_from(sub_cap->data, sub_cap->len)};
    uint8_t *bytes = cmd_alloc(c, RESPONSE_MOST);
    struct wr w = wr_to(bytes, RESPONSE_MOST);
    tpm_rc rc;

    /* 1-2. The area and its sub-capability. TPM_CAP_MFR has nothing here. */
    if (!bytes)
        return TPM_SIZE;
    if (!area || (area->sub_len && sub_cap->len != area->sub_len))
        return TPM_BAD_MODE;
    if (area->sub_len)
        sub.number = area->sub_len == 2 ? rd_get16(&sub.bytes) : rd_get32(&sub.bytes);
    /* 3. */
    if (c->tpm->stany.failed && !told_in_failure(area, sub.number))
        return TPM_FAILEDSELFTEST;
    rc = area->get(c, &sub, &w);
    if (!rc && w.bad)
        rc = TPM_SIZE;
    *resp = (struct tpm_blob){.len = (uint32_t)w.len, .data = bytes};
    return rc;
}

/* TPM 1.2 Part 3, 7.1 TPM_GetCapability */
tpm_rc cmd_get_capability(struct cmd *c, const struct get_capability_in *in, struct get_capability_out *out)
{
    return cmd_read_capability(c, in->cap_area, &in->sub_cap, &out->resp);
}
