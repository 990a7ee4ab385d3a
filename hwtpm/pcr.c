/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of PCRs, what they hold, and what they will hold. Pure. */
#include <stdio.h>
#include <stdlib.h>

#include "hwtpm/hwtpm.h"
#include "server/base/text.h"
#include "server/wire/cursor.h"

/* ---- Names of sets ---- */

/* A number below HWTPM_PCRS; *at moves behind it. */
static bool pcr_number(const char **at, unsigned *n)
{
    const char *start = *at;

    *n = 0;
    while (**at >= '0' && **at <= '9' && *at - start < 3)
        *n = *n * 10 + (unsigned)(*(*at)++ - '0');
    return *at != start && *n < HWTPM_PCRS;
}

static bool parse_part(const char **at, uint32_t *mask)
{
    unsigned first, last;

    if (!pcr_number(at, &first))
        return false;
    last = first;
    if (**at == '-') {
        ++*at;
        if (!pcr_number(at, &last) || last < first)
            return false;
    }
    for (unsigned n = first; n <= last; n++)
        *mask |= 1u << n;
    return true;
}

int hwtpm_pcrs_parse(const char *text, uint32_t *mask, struct vt_why *why)
{
    const char *at = text;

    *mask = 0;
    if (strcmp(text, "none") == 0)
        return VT_OK;
    do {
        if (!parse_part(&at, mask))
            break;
        if (!*at)
            return VT_OK;
    } while (*at++ == ',');
    return vt_fail(why, VT_EUSAGE, "pcrs=%.40s: must be PCR numbers from 0 to %d, as in 7,4 or 0-7, or none", text,
                   HWTPM_PCRS - 1);
}

void hwtpm_pcrs_text(char out[HWTPM_PCRS_TEXT], uint32_t mask)
{
    size_t len = 0;

    snprintf(out, HWTPM_PCRS_TEXT, "none");
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (mask >> n & 1)
            len += (size_t)snprintf(out + len, HWTPM_PCRS_TEXT - len, "%s%u", len ? "," : "", n);
}

/* ---- Values ---- */

void hwtpm_pcrs_extend(struct hwtpm_pcrs *pcrs, unsigned n, const uint8_t *digest)
{
    struct cr_slice slices[] = {CR_SLICE(pcrs->value[n], pcrs->len), CR_SLICE(digest, pcrs->len)};

    if (pcrs->len == CR_SHA1_LEN)
        cr_sha1v(pcrs->value[n], slices, VT_COUNT(slices));
    else
        cr_sha256v(pcrs->value[n], slices, VT_COUNT(slices));
}

/* ---- Values that nothing was measured into ---- */

static bool all_are(const uint8_t *bytes, size_t len, uint8_t what)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != what)
            return false;
    return true;
}

/* Zeros but for the last byte: from there PCR 0 starts when TPM2_Startup comes at locality 3, or after an H-CRTM at 4. */
static bool is_start(const uint8_t *value, size_t len)
{
    return all_are(value, len - 1, 0) && value[len - 1] <= 4;
}

/*
 * Firmware ends its measurements into PCR 0 to 7 with an EV_SEPARATOR (TCG PC Client Platform Firmware Profile): the digest
 * of 00000000 or ffffffff, or of 00000001 after an error. Older firmware pads SHA-1 with zeros for the bank of SHA-256.
 */
static void separator(unsigned which, bool is_padded, size_t len, uint8_t digest[HWTPM_DIGEST])
{
    static const uint8_t data[][4] = {{0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 1}};

    memset(digest, 0, HWTPM_DIGEST);
    if (is_padded || len == CR_SHA1_LEN)
        cr_sha1(digest, data[which], sizeof data[which]);
    else
        cr_sha256(digest, data[which], sizeof data[which]);
}

/* A separator alone, over any start. */
static bool is_separator(const uint8_t *value, size_t len)
{
    for (unsigned k = 0; k < 3 * 2 * 5; k++) {
        struct hwtpm_pcrs one = {.mask = 1, .len = (uint32_t)len};
        uint8_t digest[HWTPM_DIGEST];

        one.value[0][len - 1] = (uint8_t)(k / 6);
        separator(k % 3, k / 3 % 2, len, digest);
        hwtpm_pcrs_extend(&one, 0, digest);
        if (memcmp(one.value[0], value, len) == 0)
            return true;
    }
    return false;
}

uint32_t hwtpm_pcrs_separators(const struct hwtpm_pcrs *pcrs)
{
    uint32_t mask = 0;

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (pcrs->mask >> n & 1 && is_separator(pcrs->value[n], pcrs->len))
            mask |= 1u << n;
    return mask;
}

static int check_start(const struct hwtpm_pcrs *pcrs, unsigned n, struct vt_why *why)
{
    const char *what = all_are(pcrs->value[n], pcrs->len, 0)      ? "is all zero"
                       : all_are(pcrs->value[n], pcrs->len, 0xff) ? "is all one"
                       : is_start(pcrs->value[n], pcrs->len)      ? "holds the locality of the TPM's start alone"
                                                                  : NULL;

    if (!what)
        return VT_OK;
    return vt_fail(why, VT_EUSAGE, "PCR %u %s: nothing measures into it, so sealing to it protects nothing: choose other "
                   "PCRs, or say pcrs=none", n, what);
}

int hwtpm_pcrs_check(const struct hwtpm_pcrs *pcrs, struct vt_why *why)
{
    char all[HWTPM_PCRS_TEXT];
    int err = VT_OK;

    for (unsigned n = 0; n < HWTPM_PCRS && !err; n++)
        if (pcrs->mask >> n & 1)
            err = check_start(pcrs, n, why);
    if (err || !pcrs->mask || hwtpm_pcrs_separators(pcrs) != pcrs->mask)
        return err;
    hwtpm_pcrs_text(all, pcrs->mask);
    return vt_fail(why, VT_EUSAGE, "PCR %s: the firmware's separator and nothing else: this firmware measures nothing there, "
                   "so sealing to it protects nothing: choose other PCRs, as in pcrs=0,2,4, or say pcrs=none", all);
}

void hwtpm_prints_of(struct hwtpm_prints *prints, const struct hwtpm_pcrs *pcrs)
{
    memset(prints, 0, sizeof *prints);
    prints->mask = pcrs->mask;
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (pcrs->mask >> n & 1)
            memcpy(prints->of[n], pcrs->value[n], HWTPM_PRINT);
}

uint32_t hwtpm_prints_differ(const struct hwtpm_prints *prints, const struct hwtpm_pcrs *now)
{
    uint32_t differ = 0;

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        /* PCR values are no secret. */
        if (prints->mask >> n & 1 && memcmp(prints->of[n], now->value[n], HWTPM_PRINT) != 0)
            differ |= 1u << n;
    return differ;
}

/* TPM 2.0 Part 3, 23.7: the digest of a policy session after one TPM2_PolicyPCR, or of TPM2_PolicyCommandCode for none. */
void hwtpm_pcr_policy(const struct hwtpm_pcrs *pcrs, uint8_t policy[CR_SHA256_LEN])
{
    static const uint8_t none[] = {0x00, 0x00, 0x01, 0x6c, 0x00, 0x00, 0x01, 0x5e}; /* PolicyCommandCode, Unseal */
    static const uint8_t start[CR_SHA256_LEN];
    uint8_t select[] = {0x00, 0x00, 0x01, 0x7f, 0, 0, 0, 1, 0x00, 0x0b, 3, 0, 0, 0}; /* PolicyPCR, one bank: SHA-256 */
    uint8_t values[CR_SHA256_LEN];
    struct cr_slice chosen[HWTPM_PCRS], slices[] = {CR_SLICE(start, sizeof start), CR_SLICE(select, sizeof select),
                                                    CR_SLICE(values, sizeof values)};
    size_t count = 0;

    if (!pcrs->mask) {
        slices[1] = CR_SLICE(none, sizeof none);
        cr_sha256v(policy, slices, 2);
        return;
    }
    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        if (pcrs->mask >> n & 1)
            chosen[count++] = CR_SLICE(pcrs->value[n], CR_SHA256_LEN);
    for (unsigned i = 0; i < 3; i++)
        select[11 + i] = (uint8_t)(pcrs->mask >> (8 * i));
    cr_sha256v(values, chosen, count);
    cr_sha256v(policy, slices, VT_COUNT(slices));
}

/* ---- Predictions ---- */

static int wrong_line(struct vt_why *why, unsigned number, const char *line, const char *what)
{
    return vt_fail(why, VT_EUSAGE, "prediction, line %u '%.60s': %s", number, line, what);
}

static int predict_value(struct hwtpm_pcrs *pcrs, unsigned n, const char *verb, const char *hex)
{
    uint8_t digest[HWTPM_DIGEST];

    if (strcmp(verb, "reset") == 0 && !hex[0]) {
        memset(pcrs->value[n], 0, pcrs->len);
        return VT_OK;
    }
    if (!vt_unhex(digest, pcrs->len, hex))
        return VT_EUSAGE;
    if (strcmp(verb, "extend") == 0)
        hwtpm_pcrs_extend(pcrs, n, digest);
    else
        memcpy(pcrs->value[n], digest, pcrs->len);
    return VT_OK;
}

static int predict_line(struct hwtpm_pcrs *pcrs, char *line, unsigned number, struct vt_why *why)
{
    const char *words[3] = {"", "", ""};
    char shown[64], *save = NULL;
    size_t count = 0;
    unsigned n;
    const char *at;
    bool has_verb;

    snprintf(shown, sizeof shown, "%.60s", line);
    line[strcspn(line, "#")] = '\0';
    for (char *word = strtok_r(line, " \t\r", &save); word; word = strtok_r(NULL, " \t\r", &save)) {
        if (count == VT_COUNT(words))
            return wrong_line(why, number, shown, "one word too many");
        words[count++] = word;
    }
    if (!count)
        return VT_OK;
    has_verb = strcmp(words[0], "extend") == 0 || strcmp(words[0], "reset") == 0;
    at = has_verb ? words[1] : words[0];
    if (!pcr_number(&at, &n) || strcmp(at, has_verb ? "" : ":") != 0)
        return wrong_line(why, number, shown, "must be 'N: HEX', 'extend N HEX' or 'reset N'");
    if (!(pcrs->mask >> n & 1))
        return wrong_line(why, number, shown, "the slot is not bound to this PCR");
    if (predict_value(pcrs, n, has_verb ? words[0] : "", has_verb ? words[2] : words[1]))
        return wrong_line(why, number, shown, pcrs->len == CR_SHA1_LEN ? "must end with 40 hex digits (SHA-1)"
                                                                        : "must end with 64 hex digits (SHA-256)");
    return VT_OK;
}

int hwtpm_pcrs_predict(struct hwtpm_pcrs *pcrs, const char *text, struct vt_why *why)
{
    char line[256];

    for (unsigned number = 1; *text; number++) {
        size_t len = strcspn(text, "\n");
        int err;

        if (len >= sizeof line)
            return wrong_line(why, number, "...", "is too long");
        memcpy(line, text, len);
        line[len] = '\0';
        err = predict_line(pcrs, line, number, why);
        if (err)
            return err;
        text += len + (text[len] == '\n');
    }
    return VT_OK;
}
