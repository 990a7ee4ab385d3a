/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/guest.h"

#include <stdio.h>

#include "server/wire/cursor.h"

#define ORD_OIAP 0x0A
#define ORD_OSAP 0x0B
#define TAG_COMMAND 0xC1
#define TAG_RESPONSE 0xC4
#define HEADER 10
#define AUTH_OUT 41 /* nonceEven, continueAuthSession, HMAC */

const struct recipe *recipes_find(const struct recipes *recipes, const char *name)
{
    for (unsigned i = 0; i < recipes->count; i++)
        if (!strcmp(recipes->rows[i].name, name))
            return &recipes->rows[i];
    bench_fail(name, "there is no such recipe in this group");
}

static struct ready *ready_of(struct guest *guest, const struct recipe *recipe)
{
    return &guest->ready[recipe - guest->recipes->rows];
}

/* ---- Commands ---- */

static struct wr begin(uint8_t *bytes, unsigned auths, uint32_t ordinal)
{
    struct wr w = wr_to(bytes, LINK_MAX);

    wr_put16(&w, (uint16_t)(TAG_COMMAND + auths));
    wr_put32(&w, 0);
    wr_put32(&w, ordinal);
    return w;
}

static void send_built(struct guest *guest, struct wr *w)
{
    struct wr size = wr_to(w->base + 2, 4);

    if (w->bad)
        bench_fail("a recipe", "its command is too long");
    wr_put32(&size, (uint32_t)w->len);
    guest->sent_ns = bench_now_ns();
    link_send(&guest->link, w->base, w->len);
}

static void hide(uint8_t *out, const struct session *s, const struct vt_auth *plain)
{
    uint8_t pad[CR_SHA1_LEN];

    cr_sha1v(pad, (struct cr_slice[]){CR_SLICE(s->secret.bytes, CR_SHA1_LEN), CR_SLICE(s->even, CR_SHA1_LEN)}, 2);
    for (size_t i = 0; i < sizeof pad; i++)
        out[i] = plain->bytes[i] ^ pad[i];
}

/* Part 1, 13.2: what proves that the caller knows the secret. */
static void prove(struct wr *w, const uint8_t digest[CR_SHA1_LEN], struct session *s, uint8_t keep)
{
    uint8_t mac[CR_SHA1_LEN];

    bench_random(NULL, s->odd, sizeof s->odd);
    cr_hmac_sha1v(mac, s->secret.bytes, sizeof s->secret.bytes,
                  (struct cr_slice[]){CR_SLICE(digest, CR_SHA1_LEN), CR_SLICE(s->even, CR_SHA1_LEN),
                                      CR_SLICE(s->odd, CR_SHA1_LEN), CR_SLICE(&keep, 1)},
                  4);
    wr_put32(w, s->handle);
    wr_copy(w, s->odd, sizeof s->odd);
    wr_put8(w, keep);
    wr_copy(w, mac, sizeof mac);
}

static void put_handles(struct guest *guest, const struct recipe *recipe, struct wr *w)
{
    if (recipe->takes_handle && !guest->handle_count)
        bench_fail(recipe->name, "no handle was kept for it");
    if (recipe->takes_handle)
        wr_put32(w, guest->handles[--guest->handle_count]);
    wr_copy(w, recipe->handles, recipe->handles_len);
}

static void put_params(struct guest *guest, const struct recipe *recipe, struct wr *w)
{
    size_t begin = w->len;
    struct wr varying;

    wr_copy(w, recipe->params, recipe->params_len);
    if (!recipe->varies)
        return;
    varying = wr_to(w->base + begin + recipe->vary_at, 4);
    wr_put32(&varying, ++guest->counter);
}

static void send_command(struct guest *guest, const struct recipe *recipe)
{
    struct ready *ready = ready_of(guest, recipe);
    unsigned auths = recipe->is_osap ? 1 : recipe->auths;
    struct session *s = recipe->is_osap ? &ready->sessions[--ready->count] : ready->sessions;
    uint8_t command[LINK_MAX], digest[CR_SHA1_LEN];
    struct wr w = begin(command, auths, recipe->ordinal);
    size_t params;

    put_handles(guest, recipe, &w);
    params = w.len;
    put_params(guest, recipe, &w);
    if (recipe->is_osap)
        hide(command + params, s, &recipe->new_secret);
    if (auths)
        cr_sha1v(digest,
                 (struct cr_slice[]){CR_SLICE(command + 6, 4), CR_SLICE(command + params, recipe->params_len)}, 2);
    for (unsigned i = 0; i < auths; i++)
        prove(&w, digest, &s[i], !recipe->is_osap);
    guest->step = GUEST_COMMAND;
    send_built(guest, &w);
}

static void send_open(struct guest *guest, const struct recipe *recipe)
{
    struct ready *ready = ready_of(guest, recipe);
    struct session *s = &ready->sessions[ready->count];
    uint8_t command[64];
    struct wr w = begin(command, 0, recipe->is_osap ? ORD_OSAP : ORD_OIAP);

    if (recipe->is_osap) {
        bench_random(NULL, s->odd, sizeof s->odd);
        wr_put16(&w, recipe->entity_type);
        wr_put32(&w, recipe->entity);
        wr_copy(&w, s->odd, sizeof s->odd);
    }
    guest->step = GUEST_OPENING;
    send_built(guest, &w);
}

static bool lacks_session(struct guest *guest, const struct recipe *recipe)
{
    return ready_of(guest, recipe)->count < (recipe->is_osap ? 1 : recipe->auths);
}

void guest_begin(struct guest *guest, const struct recipe *recipe)
{
    guest->doing = recipe;
    if (lacks_session(guest, recipe))
        send_open(guest, recipe);
    else
        send_command(guest, recipe);
}

/* ---- Responses ---- */

static void check_success(const struct guest *guest)
{
    const char *name = guest->doing ? guest->doing->name : "command";
    struct rd r = rd_from(guest->rsp, guest->rsp_len);
    char text[64];
    uint32_t rc;

    (void)rd_get16(&r);
    (void)rd_get32(&r);
    rc = rd_get32(&r);
    snprintf(text, sizeof text, "the TPM's return code is 0x%x", rc);
    if (r.bad || rc)
        bench_fail(name, text);
}

static void opened(struct guest *guest)
{
    const struct recipe *recipe = guest->doing;
    struct ready *ready = ready_of(guest, recipe);
    struct session *s = &ready->sessions[ready->count];
    struct rd r = rd_from(guest->rsp + HEADER, guest->rsp_len - HEADER);
    uint8_t even_osap[CR_SHA1_LEN];

    s->handle = rd_get32(&r);
    rd_copy(&r, s->even, sizeof s->even);
    if (recipe->is_osap) {
        rd_copy(&r, even_osap, sizeof even_osap);
        cr_hmac_sha1v(s->secret.bytes, recipe->entity_secret.bytes, CR_SHA1_LEN,
                      (struct cr_slice[]){CR_SLICE(even_osap, CR_SHA1_LEN), CR_SLICE(s->odd, CR_SHA1_LEN)}, 2);
    } else {
        s->secret = recipe->secrets[ready->count];
    }
    if (!rd_done(&r))
        bench_fail(recipe->name, "a session's response has another length");
    ready->count++;
}

static void finished(struct guest *guest)
{
    const struct recipe *recipe = guest->doing;
    struct session *s = ready_of(guest, recipe)->sessions;
    unsigned auths = recipe->is_osap ? 1 : recipe->auths;
    struct rd r = rd_from(guest->rsp, guest->rsp_len);

    if (rd_get16(&r) != TAG_RESPONSE + auths || guest->rsp_len < HEADER + auths * (size_t)AUTH_OUT)
        bench_fail(recipe->name, "the response is of another kind");
    rd_take(&r, HEADER - 2);
    if (recipe->keeps_handle && guest->handle_count == HANDLES_MAX)
        bench_fail(recipe->name, "too many handles are kept");
    if (recipe->keeps_handle)
        guest->handles[guest->handle_count++] = rd_get32(&r);
    for (unsigned i = 0; i < recipe->auths; i++)
        memcpy(s[i].even, guest->rsp + guest->rsp_len - (recipe->auths - i) * (size_t)AUTH_OUT, CR_SHA1_LEN);
}

bool guest_go_on(struct guest *guest, uint64_t *ns)
{
    if (!link_receive(&guest->link, guest->rsp, &guest->rsp_len))
        return false;
    *ns = bench_now_ns() - guest->sent_ns;
    check_success(guest);
    if (guest->step == GUEST_OPENING) {
        opened(guest);
        guest_begin(guest, guest->doing);
        return false;
    }
    finished(guest);
    guest->step = GUEST_IDLE;
    return true;
}

/* ---- Outside of a run ---- */

static void receive_all(struct guest *guest)
{
    while (!link_receive(&guest->link, guest->rsp, &guest->rsp_len))
        ;
}

void guest_prepare(struct guest *guest, const struct recipe *recipe, unsigned count)
{
    struct ready *ready = ready_of(guest, recipe);

    count = recipe->is_osap ? VT_MIN(count, (unsigned)SESSIONS_MAX) : recipe->auths;
    guest->doing = recipe;
    while (ready->count < count) {
        send_open(guest, recipe);
        receive_all(guest);
        check_success(guest);
        opened(guest);
    }
    guest->step = GUEST_IDLE;
}

uint64_t guest_send(struct guest *guest, const uint8_t *command, size_t len)
{
    uint64_t begun = bench_now_ns();

    link_send(&guest->link, command, len);
    receive_all(guest);
    return bench_now_ns() - begun;
}

void guest_forget(struct guest *guest)
{
    memset(guest->ready, 0, sizeof guest->ready);
    guest->handle_count = 0;
}
