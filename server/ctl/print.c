/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/ctl.h"

#include <jansson.h>
#include <stdio.h>

#include "hwtpm/hwtpm.h"
#include "server/base/text.h"
#include "server/core/measure.h"
#include "server/crypto/crypto.h"
#include "server/ctl/ek_x509.h"

/* ---- JSON ---- */

static void emit(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
    json_decref(object);
}

static json_t *json_limits(const Vtpm__Instance *i)
{
    json_t *object = json_object();

    for (size_t k = 0; k < i->n_limits; k++) {
        const Vtpm__Limit *limit = i->limits[k];

        json_object_set_new(object, limit->name,
                            limit->is_truth ? json_boolean(limit->value) : json_integer(limit->value));
    }
    return object;
}

static json_t *json_pcrs(uint32_t mask)
{
    json_t *list = json_array();

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (mask >> n & 1)
            json_array_append_new(list, json_integer(n));
    return list;
}

static json_t *json_instance(const Vtpm__Instance *i)
{
    json_t *object = json_pack("{s:s s:s s:s s:s s:s s:s s:s s:I s:I s:I s:s s:s s:s s:s s:b s:s s:I}", "uuid", i->uuid,
                     "name", i->name, "group", i->group, "state", i->state, "reason", i->reason, "domain", i->domain,
                     "last_seen", i->last_seen, "commands", (json_int_t)i->commands, "state_bytes",
                     (json_int_t)i->state_bytes, "generation", (json_int_t)i->generation, "ek_sha256", i->ek_sha256,
                     "created", i->created, "updated", i->updated, "profile", i->profile, "connected", i->connected,
                     "peer", i->peer, "engine_pid", (json_int_t)i->engine_pid);

    if (object && i->has_measures) {
        json_object_set_new(object, "measurements", json_integer(i->measurements));
        json_object_set_new(object, "measure_required", json_boolean(i->measure_required));
        json_object_set_new(object, "host_pcrs", json_pcrs(i->host_pcrs));
    }
    if (object && i->n_limits)
        json_object_set_new(object, "limits", json_limits(i));
    return object;
}

/* {"WORD":[...]} of whatever the reply holds. */
#define EMIT_LIST(word, count, items, fn)                                                          \
    do {                                                                                           \
        json_t *list_ = json_array();                                                              \
        for (size_t k_ = 0; k_ < (count); k_++)                                                    \
            json_array_append_new(list_, fn((items)[k_]));                                         \
        emit(json_pack("{s:o}", word, list_));                                                     \
    } while (0)

static json_t *json_keyslot(const Vtpm__Keyslot *slot)
{
    json_t *params = json_loads(slot->params, 0, NULL);

    return json_pack("{s:I s:s s:o s:b s:s}", "id", (json_int_t)slot->id, "kind", slot->kind, "params",
                     params ? params : json_object(), "opened_store", slot->opened_store, "text", slot->text);
}

static json_t *json_event(const Vtpm__Event *event)
{
    return json_pack("{s:I s:s s:s s:s s:s s:s s:s}", "id", (json_int_t)event->id, "time", event->time, "kind",
                     event->kind, "uuid", event->uuid, "peer", event->peer, "text", event->text, "hash", event->hash);
}

static json_t *json_binding(const Vtpm__Binding *binding)
{
    return json_pack("{s:s s:s s:s}", "uuid", binding->uuid, "name", binding->instance, "peer", binding->peer);
}

static json_t *json_measurement(const Vtpm__Measurement *one)
{
    char digest[2 * MEASURE_DIGEST + 1] = "";

    if (one->digest.len == MEASURE_DIGEST)
        vt_hex(digest, one->digest.data, one->digest.len);
    return json_pack("{s:I s:s s:b s:I s:s}", "pcr", (json_int_t)one->pcr, "digest", digest, "always", one->always,
                     "size", (json_int_t)one->size, "label", one->label);
}

static json_t *json_key_pool(const Vtpm__Status *s)
{
    return json_pack("{s:I s:I s:I s:I s:I s:I s:I s:I s:I}", "size_2048", (json_int_t)s->key_pool_2048, "level_2048",
                     (json_int_t)s->keys_2048, "size_1024", (json_int_t)s->key_pool_1024, "level_1024",
                     (json_int_t)s->keys_1024, "made", (json_int_t)s->keys_made, "taken", (json_int_t)s->keys_taken,
                     "ordered", (json_int_t)s->keys_ordered, "waiting", (json_int_t)s->keys_waiting, "makers",
                     (json_int_t)s->key_makers);
}

static json_t *json_status(const Vtpm__Status *s)
{
    json_t *listeners = json_array();

    for (size_t k = 0; k < s->n_listeners; k++)
        json_array_append_new(listeners, json_string(s->listeners[k]));
    return json_pack("{s:s s:s s:s s:s s:s s:I s:I s:I s:I s:I s:s s:s s:s s:s s:o s:o}", "version", s->version, "store_uuid",
                     s->store_uuid, "data_dir", s->data_dir, "runtime_dir", s->runtime_dir, "keyslot", s->keyslot,
                     "uptime_s", (json_int_t)s->uptime_s, "instances", (json_int_t)s->instances, "engines",
                     (json_int_t)s->engines, "channels", (json_int_t)s->channels, "commands", (json_int_t)s->commands,
                     "crypto", s->crypto, "protection", s->protection, "keyslot_warning", s->keyslot_warning, "host_tpm",
                     s->host_tpm, "listeners",
                     listeners, "key_pool", json_key_pool(s));
}

static json_t *json_check(const Vtpm__Check *c)
{
    return json_pack("{s:b s:I s:I s:I s:I s:I s:I s:I s:s}", "ok", c->ok, "instances", (json_int_t)c->instances,
                     "broken", (json_int_t)c->broken, "deleted", (json_int_t)c->deleted, "credentials",
                     (json_int_t)c->credentials, "bindings", (json_int_t)c->bindings, "keyslots",
                     (json_int_t)c->keyslots, "events", (json_int_t)c->events, "text", c->text);
}

/* ---- Both forms ---- */

static void show_limits(const Vtpm__Instance *i)
{
    for (size_t k = 0; k < i->n_limits; k++) {
        const Vtpm__Limit *limit = i->limits[k];

        if (limit->is_truth)
            printf("  %-18s %s\n", limit->name, limit->value ? "true" : "false");
        else
            printf("  %-18s %lld\n", limit->name, (long long)limit->value);
    }
}

static void show_instance(const Vtpm__Instance *i)
{
    char pcrs[HWTPM_PCRS_TEXT];

    printf("uuid         %s\nname         %s\n", i->uuid, i->name);
    if (*i->group)
        printf("group        %s\n", i->group);
    printf("state        %s\n", i->state);
    if (*i->reason)
        printf("reason       %s\n", i->reason);
    if (*i->domain)
        printf("domain       %s\n", i->domain);
    printf("profile      %s\n", i->profile);
    show_limits(i);
    printf("EK SHA-256   %s\n", *i->ek_sha256 ? i->ek_sha256 : "none");
    printf("connected    %s\n", i->connected ? i->peer : "no");
    if (i->engine_pid)
        printf("engine pid   %u\n", i->engine_pid);
    printf("commands     %llu\nlast seen    %s\n", (unsigned long long)i->commands,
           *i->last_seen ? i->last_seen : "never");
    printf("state bytes  %llu\ngeneration   %llu\n", (unsigned long long)i->state_bytes,
           (unsigned long long)i->generation);
    if (i->has_measures)
        printf("measured     %u queued%s\n", i->measurements, i->measure_required ? ", required" : "");
    hwtpm_pcrs_text(pcrs, i->host_pcrs);
    if (i->host_pcrs)
        printf("host PCRs    %s\n", pcrs);
    printf("created      %s\nupdated      %s\n", i->created, i->updated);
}

void print_instance(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    if (ctl->json) {
        EMIT_LIST("instances", reply->n_instances, reply->instances, json_instance);
        return;
    }
    for (size_t k = 0; k < reply->n_instances; k++)
        show_instance(reply->instances[k]);
}

json_t *print_instances_begin(const struct ctl *ctl)
{
    if (ctl->json)
        return json_array();
    printf("%-36s  %-20s  %-14s  %-20s  %s\n", "UUID", "NAME", "STATE", "LAST SEEN", "COMMANDS");
    return NULL;
}

void print_instances_page(const struct ctl *ctl, json_t *list, const Vtpm__AdminReply *reply)
{
    for (size_t k = 0; k < reply->n_instances; k++) {
        const Vtpm__Instance *i = reply->instances[k];

        if (ctl->json)
            json_array_append_new(list, json_instance(i));
        else
            printf("%-36s  %-20s  %-14s  %-20s  %llu\n", i->uuid, i->name, i->state,
                   *i->last_seen ? i->last_seen : "never", (unsigned long long)i->commands);
    }
}

void print_instances_end(const struct ctl *ctl, json_t *list)
{
    if (ctl->json)
        emit(json_pack("{s:o}", "instances", list));
}

void print_bindings(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    if (ctl->json) {
        EMIT_LIST("bindings", reply->n_bindings, reply->bindings, json_binding);
        return;
    }
    printf("%-36s  %-20s  %s\n", "UUID", "NAME", "PEER");
    for (size_t k = 0; k < reply->n_bindings; k++)
        printf("%-36s  %-20s  %s\n", reply->bindings[k]->uuid, reply->bindings[k]->instance, reply->bindings[k]->peer);
}

void print_measurements(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    if (ctl->json) {
        json_t *list = json_array();

        for (size_t k = 0; k < reply->n_measurements; k++)
            json_array_append_new(list, json_measurement(reply->measurements[k]));
        emit(json_pack("{s:o s:b}", "measurements", list, "required", reply->measure_required));
        return;
    }
    printf("%-3s  %-40s  %-6s  %-10s  %s\n", "PCR", "SHA-1", "STAYS", "BYTES", "LABEL");
    for (size_t k = 0; k < reply->n_measurements; k++) {
        const Vtpm__Measurement *one = reply->measurements[k];
        char digest[2 * MEASURE_DIGEST + 1] = "";

        if (one->digest.len == MEASURE_DIGEST)
            vt_hex(digest, one->digest.data, one->digest.len);
        printf("%-3u  %s  %-6s  %-10llu  %s\n", one->pcr, digest, one->always ? "always" : "once",
               (unsigned long long)one->size, one->label);
    }
}

void print_host_pcrs(const struct ctl *ctl, uint32_t mask)
{
    char text[HWTPM_PCRS_TEXT];

    hwtpm_pcrs_text(text, mask);
    if (ctl->json)
        emit(json_pack("{s:o}", "host_pcrs", json_pcrs(mask)));
    else
        printf("%s\n", text);
}

void print_keyslots(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    if (ctl->json) {
        EMIT_LIST("keyslots", reply->n_keyslots, reply->keyslots, json_keyslot);
        return;
    }
    for (size_t k = 0; k < reply->n_keyslots; k++)
        printf("%lld  %-12s  %s%s\n%s", (long long)reply->keyslots[k]->id, reply->keyslots[k]->kind,
               reply->keyslots[k]->params, reply->keyslots[k]->opened_store ? "  (opened the store)" : "",
               reply->keyslots[k]->text);
}

void print_pcr_policy(const struct ctl *ctl, const char *pcrs, const char *policy, const char *signature)
{
    if (ctl->json)
        emit(json_pack("{s:s s:s s:s}", "pcrs", pcrs, "policy", policy, "signature", signature));
    else
        printf("pcrs=%s policy=%s signature=%s\n", pcrs, policy, signature);
}

static void show_key_pool(const Vtpm__Status *s)
{
    if (!s->key_pool_2048 && !s->key_pool_1024) {
        printf("key pool   none: engines make their keys themselves\n");
        return;
    }
    printf("key pool   %llu of %llu RSA-2048, %llu of %llu RSA-1024; %llu made, %llu taken, %llu to order, %llu waiting\n",
           (unsigned long long)s->keys_2048, (unsigned long long)s->key_pool_2048, (unsigned long long)s->keys_1024,
           (unsigned long long)s->key_pool_1024, (unsigned long long)s->keys_made, (unsigned long long)s->keys_taken,
           (unsigned long long)s->keys_ordered, (unsigned long long)s->keys_waiting);
}

void print_status(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    const Vtpm__Status *s = reply->status;

    if (ctl->json) {
        emit(json_pack("{s:o}", "status", json_status(s)));
        return;
    }
    printf("version    %s (%s)\nstore      %s in %s\nopened by  key slot %s\n", s->version, s->crypto, s->store_uuid,
           s->data_dir, s->keyslot);
    if (*s->keyslot_warning)
        printf("WARNING    a weaker slot than the host TPM's opened it: %s\n", s->keyslot_warning);
    printf("runtime    %s\nuptime     %llu s\n", s->runtime_dir, (unsigned long long)s->uptime_s);
    for (size_t k = 0; k < s->n_listeners; k++)
        printf("listens    %s\n", s->listeners[k]);
    printf("instances  %llu, %llu with an engine, %llu channels, %llu commands\n", (unsigned long long)s->instances,
           (unsigned long long)s->engines, (unsigned long long)s->channels, (unsigned long long)s->commands);
    show_key_pool(s);
    printf("host TPM   %s\nprotection %s\n", s->host_tpm, s->protection);
}

void print_check(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    const Vtpm__Check *c = reply->check;

    if (ctl->json) {
        emit(json_pack("{s:o}", "check", json_check(c)));
        return;
    }
    printf("%s: %llu instances (%llu broken, %llu deleted), %llu credentials, %llu bindings, %llu key slots, "
           "%llu events\n",
           c->ok ? "ok" : "DAMAGED", (unsigned long long)c->instances, (unsigned long long)c->broken,
           (unsigned long long)c->deleted, (unsigned long long)c->credentials, (unsigned long long)c->bindings,
           (unsigned long long)c->keyslots, (unsigned long long)c->events);
    if (*c->text)
        printf("%s\n", c->text);
}

void print_created(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *credential_file)
{
    const Vtpm__Instance *i = reply->instances[0];

    if (ctl->json)
        emit(json_pack("{s:[{s:s s:s s:s?}]}", "instances", "uuid", i->uuid, "name", i->name, "credential_file",
                       credential_file));
    else
        printf("%s\n", i->uuid);
}

/* The uuid on stdout, as `create` has it; what came along on stderr. */
void print_moved_in(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *credential_file)
{
    const Vtpm__Instance *i = reply->instances[0];
    const Vtpm__SwtpmFacts *f = reply->swtpm;

    if (ctl->json) {
        emit(json_pack("{s:[{s:s s:s s:s?}] s:{s:b s:b s:b s:b s:i s:i s:i s:i s:i s:i}}", "instances", "uuid", i->uuid,
                       "name", i->name, "credential_file", credential_file, "moved", "ek", f->has_ek, "owned", f->owned,
                       "disabled", f->disabled, "deactivated", f->deactivated, "nv_areas", (int)f->nv_areas, "nv_bytes",
                       (int)f->nv_bytes, "counters", (int)f->counters, "owner_keys", (int)f->owner_keys, "families",
                       (int)f->families, "delegations", (int)f->delegations));
        return;
    }
    printf("%s\n", i->uuid);
    fprintf(stderr, "vtpmctl: imported and proved: %s endorsement key, %s owner%s%s, %u NV areas of %u bytes, %u counters, %u "
            "keys of the owner, %u families, %u delegations\n", f->has_ek ? "an" : "no", f->owned ? "an" : "no",
            f->disabled ? ", disabled" : "", f->deactivated ? ", deactivated" : "", f->nv_areas, f->nv_bytes, f->counters,
            f->owner_keys, f->families, f->delegations);
}

void print_credential(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *credential_file)
{
    if (ctl->json)
        emit(json_pack("{s:{s:s s:s}}", "credential", "identity", reply->credential->identity, "file",
                       credential_file));
}

static json_t *json_server(const Vtpm__ServerKey *server)
{
    return json_pack("{s:s s:s s:s s:s s:s}", "name", server->name, "store", server->store, "fingerprint",
                     server->fingerprint, "key", server->line, "address", server->address);
}

/* The line alone: it goes into a file. */
void print_server_key(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    const Vtpm__ServerKey *key = reply->server_key;

    if (ctl->json)
        emit(json_pack("{s:{s:s s:s s:s}}", "server_key", "store", key->store, "fingerprint", key->fingerprint, "key",
                       key->line));
    else
        printf("%s\n", key->line);
}

void print_peers(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    if (ctl->json) {
        EMIT_LIST("peers", reply->n_peers, reply->peers, json_server);
        return;
    }
    printf("%-20s  %-36s  %-39s  %s\n", "NAME", "STORE", "KEY", "ADDRESS");
    for (size_t k = 0; k < reply->n_peers; k++)
        printf("%-20s  %-36s  %-39s  %s\n", reply->peers[k]->name, reply->peers[k]->store, reply->peers[k]->fingerprint,
               *reply->peers[k]->address ? reply->peers[k]->address : "-");
}

static json_t *json_expected(const Vtpm__Expected *e)
{
    return json_pack("{s:s s:s s:s s:b}", "uuid", e->uuid, "from", e->from, "since", e->since, "claimed", e->claimed);
}

void print_expected(const struct ctl *ctl, const Vtpm__AdminReply *reply)
{
    if (ctl->json) {
        EMIT_LIST("expected", reply->n_expected, reply->expected, json_expected);
        return;
    }
    printf("%-36s  %-20s  %-20s  %s\n", "UUID", "FROM", "SINCE", "CLAIMED");
    for (size_t k = 0; k < reply->n_expected; k++)
        printf("%-36s  %-20s  %-20s  %s\n", reply->expected[k]->uuid, reply->expected[k]->from, reply->expected[k]->since,
               reply->expected[k]->claimed ? "yes" : "no");
}

void print_exported(const struct ctl *ctl, const char *file, size_t bytes)
{
    if (ctl->json)
        emit(json_pack("{s:{s:s s:I}}", "exported", "file", file, "bytes", (json_int_t)bytes));
}

void print_backup(const struct ctl *ctl, const Vtpm__Backup *backup, const char *file)
{
    if (ctl->json)
        emit(json_pack("{s:{s:s s:I s:I s:I}}", "backup", "file", file, "bytes", (json_int_t)backup->bytes,
                       "generation", (json_int_t)backup->generation, "instances", (json_int_t)backup->instances));
    else
        printf("%s: %llu bytes, generation %llu, %llu instances, sealed as in the store\n", file,
               (unsigned long long)backup->bytes, (unsigned long long)backup->generation,
               (unsigned long long)backup->instances);
}

void print_warning(const char *text)
{
    fprintf(stderr, "vtpmctl: warning: %s\n", text);
}

/* As the inventory has it. */
static void ek_sha256(char out[2 * CR_SHA256_LEN + 1], const Vtpm__EkCert *ek)
{
    uint8_t digest[CR_SHA256_LEN];

    cr_sha256(digest, ek->modulus.data, ek->modulus.len);
    vt_hex(out, digest, sizeof digest);
}

void print_ek(const struct ctl *ctl, const Vtpm__EkCert *ek, const char *pem)
{
    char digest[2 * CR_SHA256_LEN + 1];

    ek_sha256(digest, ek);
    if (ctl->json)
        emit(json_pack("{s:{s:s s:s s:s s:s}}", "ekcert", "uuid", ek->uuid, "name", ek->name, "ek_sha256", digest,
                       "public_key", pem));
    else
        fputs(pem, stdout);
}

void print_ek_cert(const struct ctl *ctl, const Vtpm__EkCert *ek, const struct ek_cert_facts *facts, const char *pem)
{
    char digest[2 * CR_SHA256_LEN + 1];

    ek_sha256(digest, ek);
    if (ctl->json && facts)
        emit(json_pack("{s:{s:s s:s s:s s:s s:s s:s s:s s:s s:s}}", "ekcert", "uuid", ek->uuid, "name", ek->name,
                       "ek_sha256", digest, "issuer", facts->issuer, "serial", facts->serial, "not_before",
                       facts->not_before, "not_after", facts->not_after, "sha256", facts->sha256, "certificate", pem));
    else if (ctl->json)
        emit(json_pack("{s:{s:s s:s s:s s:s}}", "ekcert", "uuid", ek->uuid, "name", ek->name, "ek_sha256", digest,
                       "certificate", pem));
    else if (facts)
        printf("uuid         %s\nname         %s\nEK SHA-256   %s\nissuer       %s\nserial       %s\nvalid from   %s\n"
               "valid to     %s\nSHA-256      %s\n",
               ek->uuid, ek->name, digest, facts->issuer, facts->serial, facts->not_before, facts->not_after,
               facts->sha256);
    else
        fputs(pem, stdout);
}

void print_ok(const struct ctl *ctl)
{
    if (ctl->json)
        emit(json_pack("{s:b}", "ok", 1));
}

int print_error(const struct ctl *ctl, int err, const char *text)
{
    int code = vt_err_exit(err);

    if (ctl->json)
        emit(json_pack("{s:{s:i s:s}}", "error", "code", code, "text", text));
    else
        fprintf(stderr, "vtpmctl: %s\n", text);
    return code;
}

json_t *print_events_begin(const struct ctl *ctl)
{
    return ctl->json ? json_array() : NULL;
}

void print_events_page(const struct ctl *ctl, json_t *list, const Vtpm__AdminReply *reply)
{
    for (size_t k = 0; k < reply->n_events; k++) {
        const Vtpm__Event *event = reply->events[k];
        if (ctl->json)
            json_array_append_new(list, json_event(event));
        else
            printf("%lld  %s  %-18s  %s  %s  %s\n", (long long)event->id, event->time, event->kind,
                   *event->uuid ? event->uuid : "-", event->peer, event->text);
    }
}

void print_events_end(const struct ctl *ctl, json_t *list, bool verify, const char *note)
{
    if (!ctl->json) {
        if (verify)
            printf("the chain of events is whole%s%s\n", *note ? ", " : "", note);
        return;
    }
    if (verify)
        emit(json_pack("{s:o s:b s:s}", "events", list, "verified", 1, "text", note));
    else
        emit(json_pack("{s:o}", "events", list));
}
