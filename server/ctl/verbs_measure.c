/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs of the measured start. Files are read here: the server gets the digest. */
#include "server/ctl/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "hwtpm/hwtpm.h"
#include "server/base/text.h"
#include "server/core/measure.h"
#include "server/crypto/crypto.h"

#define CHUNK (64u * 1024) /* a multiple of 64 */

/* ---- One measurement ---- */

static int complain(const char *path, struct vt_why *why)
{
    int err = errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EFAIL;

    return vt_fail(why, err, "%s cannot be read: %s", path, strerror(errno));
}

/* A whole chunk unless the file ends; < 0: errno. */
static ssize_t read_chunk(int fd, uint8_t *chunk)
{
    size_t have = 0;

    while (have < CHUNK) {
        ssize_t n = read(fd, chunk + have, CHUNK - have);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return n;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

static int hash_file(const char *path, uint8_t digest[CR_SHA1_LEN], uint64_t *size, struct vt_why *why)
{
    static uint8_t chunk[CHUNK];
    struct cr_sha1_state state;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return complain(path, why);
    *size = 0;
    cr_sha1_start(&state);
    while ((n = read_chunk(fd, chunk)) == CHUNK) {
        cr_sha1_blocks(&state, chunk, CHUNK);
        *size += CHUNK;
    }
    if (n >= 0) {
        cr_sha1_finish(&state, chunk, (size_t)n, digest);
        *size += (uint64_t)n;
    }
    int err = n < 0 ? complain(path, why) : VT_OK;
    close(fd);
    return err;
}

/* The end of a path says more than its beginning. */
static void make_label(char label[MEASURE_LABEL], const char *text)
{
    size_t len = strlen(text), skip = len < MEASURE_LABEL ? 0 : len - (MEASURE_LABEL - 1), k;

    for (k = 0; text[skip + k]; k++)
        label[k] = text[skip + k] >= ' ' && text[skip + k] <= '~' ? text[skip + k] : '?';
    label[k] = '\0';
}

static int digest_of(const struct arguments *a, uint8_t digest[CR_SHA1_LEN], uint64_t *size, struct vt_why *why)
{
    *size = 0;
    if (a->file)
        return hash_file(a->file, digest, size, why);
    if (!vt_unhex(digest, CR_SHA1_LEN, a->digest))
        return vt_fail(why, VT_EUSAGE, "--digest %.60s: it must be SHA-1, 40 hex digits", a->digest);
    return VT_OK;
}

static int add(const struct arguments *a, char *instance)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Measurement measure = VTPM__MEASUREMENT__INIT;
    uint8_t digest[CR_SHA1_LEN];
    char label[MEASURE_LABEL] = "";
    struct vt_why why = {0};
    uint64_t pcr;
    int err;

    if (!vt_parse_u64(&pcr, a->pcr, MEASURE_PCRS - 1))
        return print_error(&a->ctl, VT_EUSAGE,
                           "--pcr must be a number from 0 to 15: the other PCRs can be reset without a power on");
    err = cr_init();
    if (!err)
        err = digest_of(a, digest, &measure.size, &why);
    if (err)
        return ctl_fail(a, err, &why);
    if (a->label || a->file)
        make_label(label, a->label ? a->label : a->file);
    measure.instance = instance;
    measure.pcr = (uint32_t)pcr;
    measure.digest = (ProtobufCBinaryData){.data = digest, .len = sizeof digest};
    measure.always = is_given(a, OPT(ALWAYS));
    measure.label = label;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_MEASURE;
    request.measure = &measure;
    return ctl_do(a, &request);
}

/* ---- The queue ---- */

static int list(const struct arguments *a, char *instance)
{
    Vtpm__AdminReply *reply;
    int code = ctl_ask_ref(a, VTPM__ADMIN_REQUEST__VERB_MEASURE_LIST, instance, &reply);

    if (code)
        return code;
    print_measurements(&a->ctl, reply);
    ctl_reply_free(reply);
    return 0;
}

static int clear(const struct arguments *a, char *instance)
{
    Vtpm__AdminReply *reply;
    int code = ctl_ask_ref(a, is_given(a, OPT(ONCE)) ? VTPM__ADMIN_REQUEST__VERB_MEASURE_DROP
                                                  : VTPM__ADMIN_REQUEST__VERB_MEASURE_CLEAR, instance, &reply);

    if (code)
        return code;
    print_ok(&a->ctl);
    ctl_reply_free(reply);
    return 0;
}

int run_measure(const struct arguments *a, char *const *operands)
{
    const option_set queue = a->given & (OPT(LIST) | OPT(CLEAR));
    const option_set adding = OPT(PCR) | OPT(FILE) | OPT(DIGEST) | OPT(LABEL) | OPT(ALWAYS) |
                            (queue == OPT(CLEAR) ? 0 : OPT(ONCE));

    if (queue == (OPT(LIST) | OPT(CLEAR)) || (queue && is_given(a, adding)))
        return print_error(&a->ctl, VT_EUSAGE, "--list and --clear stand alone; --clear --once keeps those of --always");
    if (queue == OPT(LIST))
        return list(a, operands[0]);
    if (queue == OPT(CLEAR))
        return clear(a, operands[0]);
    if (!is_given(a, OPT(PCR)) || !is_given(a, OPT(FILE)) == !is_given(a, OPT(DIGEST)))
        return print_error(&a->ctl, VT_EUSAGE, "a measurement wants --pcr N and one of --file F and --digest HEX");
    if (is_given(a, OPT(ONCE)) && is_given(a, OPT(ALWAYS)))
        return print_error(&a->ctl, VT_EUSAGE, "either --once or --always");
    return add(a, operands[0]);
}

/* ---- The host's PCRs ---- */

int host_pcrs_parse(const char *text, uint32_t *mask, struct vt_why *why)
{
    if (hwtpm_pcrs_parse(text, mask, NULL) || *mask >> MEASURE_PCRS)
        return vt_fail(why, VT_EUSAGE, "host PCRs %.40s: must be numbers from 0 to %d, as in 0-7 or 0,2,4, or none: the "
                       "other PCRs can be reset without a power on", text, MEASURE_PCRS - 1);
    return VT_OK;
}

static int show_host_pcrs(const struct arguments *a, char *instance)
{
    Vtpm__AdminReply *reply;
    int code = ctl_ask_ref(a, VTPM__ADMIN_REQUEST__VERB_SHOW, instance, &reply);

    if (code)
        return code;
    if (reply->n_instances == 1 && reply->instances[0]->has_measures)
        print_host_pcrs(&a->ctl, reply->instances[0]->host_pcrs);
    else
        code = print_error(&a->ctl, VT_EDAMAGED, "the instance's record does not open: vtpmctl instance show, vtpmctl check");
    ctl_reply_free(reply);
    return code;
}

int run_host_pcrs(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__HostPcrs host = VTPM__HOST_PCRS__INIT;
    struct vt_why why = {0};

    if (!operands[1])
        return show_host_pcrs(a, operands[0]);
    if (host_pcrs_parse(operands[1], &host.pcrs, &why))
        return ctl_fail(a, VT_EUSAGE, &why);
    host.instance = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_HOST_PCRS;
    request.host_pcrs = &host;
    return ctl_do(a, &request);
}

int run_require_measure(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__RequireMeasure require = VTPM__REQUIRE_MEASURE__INIT;

    require.required = strcmp(operands[1], "on") == 0;
    if (!require.required && strcmp(operands[1], "off") != 0)
        return print_error(&a->ctl, VT_EUSAGE, "require-measure is on or off");
    require.instance = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_REQUIRE_MEASURE;
    request.require_measure = &require;
    return ctl_do(a, &request);
}
