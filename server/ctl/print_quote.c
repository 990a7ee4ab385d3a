/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ctl/quote.h"

#include <jansson.h>
#include <stdio.h>

static void emit(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
    json_decref(object);
}

void print_host_ak(const struct ctl *ctl, const Vtpm__HostAk *ak, const char *pem)
{
    if (ctl->json)
        emit(json_pack("{s:{s:s s:s}}", "host_ak", "kind", ak->kind, "public_key", pem));
    else
        fputs(pem, stdout);
}

void print_quoted(const struct ctl *ctl, const char *file, size_t bytes)
{
    if (ctl->json)
        emit(json_pack("{s:{s:s s:I}}", "quote", "file", file, "bytes", (json_int_t)bytes));
}

void print_certify(const struct ctl *ctl, const char *step, const char *file, enum hwtpm_kind kind,
                   const uint8_t ek[32], const uint8_t ak[32])
{
    const char *tpm = kind == HWTPM_TPM2 ? "tpm2" : "tpm12";
    char ek_hex[2 * CR_SHA256_LEN + 1], ak_hex[2 * CR_SHA256_LEN + 1];

    vt_hex(ek_hex, ek, CR_SHA256_LEN);
    vt_hex(ak_hex, ak, CR_SHA256_LEN);
    if (ctl->json)
        emit(json_pack("{s:{s:s s:s s:s s:s}}", step, "file", file, "host_tpm", tpm, "ek_sha256", ek_hex,
                       "ak_sha256", ak_hex));
    else
        printf("%-10s %s (%s)\nEK         %s\nAK         %s\n", step, file, tpm, ek_hex, ak_hex);
}

/* PCRs by their numbers. */
static json_t *json_pcrs(uint32_t mask, const uint8_t *values, size_t step, size_t len)
{
    json_t *object = json_object();
    char name[4], hex[2 * HWTPM_DIGEST + 1];

    for (unsigned n = 0; n < HWTPM_PCRS; n++) {
        if (!(mask >> n & 1))
            continue;
        snprintf(name, sizeof name, "%u", n);
        vt_hex(hex, values + n * step, len);
        json_object_set_new(object, name, json_string(hex));
    }
    return object;
}

static void show_pcrs(const char *what, uint32_t mask, const uint8_t *values, size_t step, size_t len)
{
    char hex[2 * HWTPM_DIGEST + 1];

    for (unsigned n = 0; n < HWTPM_PCRS; n++) {
        if (!(mask >> n & 1))
            continue;
        vt_hex(hex, values + n * step, len);
        printf("%s PCR %-2u  %s\n", what, n, hex);
    }
}

void print_evidence(const struct ctl *ctl, const struct evidence *e)
{
    const struct evidence_statement *s = &e->statement;
    const struct hwtpm_pcrs *host = &e->quote.pcrs;
    const char *by = s->origin == EVIDENCE_GUEST ? "guest" : "operator",
               *kind = e->kind == HWTPM_TPM2 ? "tpm2" : "tpm12";
    char store[VT_UUID_TEXT], uuid[VT_UUID_TEXT], ek[2 * CR_SHA256_LEN + 1], nonce[2 * EVIDENCE_NONCE + 1];

    vt_uuid_text(store, &s->store);
    vt_uuid_text(uuid, &s->instance);
    vt_hex(ek, s->ek_sha256, sizeof s->ek_sha256);
    vt_hex(nonce, s->nonce, sizeof s->nonce);
    if (ctl->json) {
        emit(json_pack("{s:{s:s s:s s:s s:s s:I s:I s:s s:s s:o s:o}}", "verified", "host_tpm", kind, "store",
                       store, "uuid", uuid, "ek_sha256", ek, "epoch", (json_int_t)s->epoch, "seq",
                       (json_int_t)s->seq, "asked_by", by, "nonce", nonce, "pcrs",
                       json_pcrs(s->mask, s->pcr[0], CR_SHA1_LEN, CR_SHA1_LEN), "host_pcrs",
                       json_pcrs(host->mask, host->value[0], HWTPM_DIGEST, host->len)));
        return;
    }
    printf("verified   signed by the host's TPM (%s), asked by the %s\nstore      %s\ninstance   %s\nEK      "
           "   %s\n"
           "epoch      %llu, record %llu\nnonce      %s\n",
           kind, by, store, uuid, ek, (unsigned long long)s->epoch, (unsigned long long)s->seq, nonce);
    show_pcrs("guest", s->mask, s->pcr[0], CR_SHA1_LEN, CR_SHA1_LEN);
    show_pcrs("host ", host->mask, host->value[0], HWTPM_DIGEST, host->len);
}
