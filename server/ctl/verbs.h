/* SPDX-License-Identifier: Apache-2.0 */
/* What main.c found on the command line, and the verbs that it calls. */
#ifndef VTPM_CTL_VERBS_H
#define VTPM_CTL_VERBS_H

#include "server/ctl/ctl.h"

#define INSTANCES_MAX 256

/* A set of options: which were given, which a verb takes. */
typedef uint64_t option_set;
#define OPTION(n)      ((option_set)1 << (n))
#define OPT_UUID       OPTION(0)
#define OPT_NO_EK      OPTION(1)
#define OPT_PROFILE    OPTION(2)
#define OPT_CREDENTIAL OPTION(3)
#define OPT_YES        OPTION(4)
#define OPT_VERIFY     OPTION(5)
#define OPT_INSTANCE   OPTION(6)
#define OPT_GROUP      OPTION(7)
#define OPT_PREDICT    OPTION(8)
#define OPT_PEER       OPTION(9)
#define OPT_PCR        OPTION(10)
#define OPT_FILE       OPTION(11)
#define OPT_DIGEST     OPTION(12)
#define OPT_LABEL      OPTION(13)
#define OPT_ONCE       OPTION(14)
#define OPT_ALWAYS     OPTION(15)
#define OPT_LIST       OPTION(16)
#define OPT_CLEAR      OPTION(17)
#define OPT_REQUIRE    OPTION(18)
#define OPT_CANCEL     OPTION(19)
#define OPT_DRY_RUN    OPTION(20)
#define OPT_KEY        OPTION(21)
#define OPT_PCRS       OPTION(22)
#define OPT_TO         OPTION(23)
#define OPT_OUT        OPTION(24)
#define OPT_CA_KEY     OPTION(25)
#define OPT_CA_CERT    OPTION(26)
#define OPT_DAYS       OPTION(27)
#define OPT_PEM        OPTION(28)
#define OPT_NONCE      OPTION(29)
#define OPT_DEEP       OPTION(30)
#define OPT_SECRET     OPTION(31)
#define OPT_SECRET_OUT OPTION(32)
#define OPT_HOST_PCRS  OPTION(33)

struct arguments {
    struct ctl ctl;
    option_set given;
    char *uuid, *profile, *credential, *group, *predict, *peer, *pcr, *file, *digest, *label, *key, *pcrs, *to;
    char *out, *ca_key, *ca_cert, *days, *nonce, *secret, *secret_out, *host_pcrs;
    char *instances[INSTANCES_MAX];
    size_t instance_count;
    char *words[4];         /* noun, verb, operands */
    int word_count;
};

/* One of these options was given. */
static inline bool is_given(const struct arguments *a, option_set any)
{
    return (a->given & any) != 0;
}

/* call.c. fail: says why (or the error's own text) and gives the exit code. */
int ctl_fail(const struct arguments *a, int err, const struct vt_why *why);
/* One request, one reply: 0 and *reply (ctl_reply_free), or the exit code, said already. */
int ctl_ask(const struct arguments *a, const Vtpm__AdminRequest *request, Vtpm__AdminReply **reply);
/* A request whose answer is only that it was done. */
int ctl_do(const struct arguments *a, const Vtpm__AdminRequest *request);
/* A request that brings a fresh key: its file is there first, and dropped again if the request fails; then print. */
int ctl_ask_for_key(const struct arguments *a, const Vtpm__AdminRequest *request,
                    void (*print)(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *file));
/* The same with something more to do, once the key is in its file: `then` gives the exit code. */
int ctl_ask_for_key_then(const struct arguments *a, const Vtpm__AdminRequest *request,
                         int (*then)(const struct arguments *a, const Vtpm__AdminReply *reply, void *arg), void *arg);
/* Wipes keys in it. */
void ctl_reply_free(Vtpm__AdminReply *reply);

/* verbs_ekcert.c, for `instance create`: the CA is opened before anything is made; *ca with ek_ca_close. */
struct ek_ca;
int ekcert_open_ca(const struct arguments *a, struct ek_ca **ca, struct vt_why *why) VT_USE_RESULT;
/* The instance gets a certificate from it, silently: 0, or the exit code, said already. */
int ekcert_certify(const struct arguments *a, const struct ek_ca *ca, char *instance);

/* verbs_measure.c, for `instance create`: PCRs of the host as the server takes them. */
int host_pcrs_parse(const char *text, uint32_t *mask, struct vt_why *why) VT_USE_RESULT;

/* Verbs: 0 or the exit code. Operands are as many as the table in main.c says; an optional one may be NULL. */
int run_create(const struct arguments *a, char *const *operands);
int run_list(const struct arguments *a, char *const *operands);
int run_show(const struct arguments *a, char *const *operands);
int run_rename(const struct arguments *a, char *const *operands);
int run_power_cycle(const struct arguments *a, char *const *operands);
int run_suspend(const struct arguments *a, char *const *operands);
int run_enable(const struct arguments *a, char *const *operands);
int run_disable(const struct arguments *a, char *const *operands);
int run_delete(const struct arguments *a, char *const *operands);
int run_rotate(const struct arguments *a, char *const *operands);
int run_create_host(const struct arguments *a, char *const *operands);
int run_binding_add(const struct arguments *a, char *const *operands);
int run_binding_list(const struct arguments *a, char *const *operands);
int run_binding_remove(const struct arguments *a, char *const *operands);
int run_measure(const struct arguments *a, char *const *operands);
int run_host_pcrs(const struct arguments *a, char *const *operands);
int run_require_measure(const struct arguments *a, char *const *operands);
int run_keyslot_list(const struct arguments *a, char *const *operands);
int run_keyslot_add(const struct arguments *a, char *const *operands);
int run_keyslot_remove(const struct arguments *a, char *const *operands);
int run_keyslot_reseal(const struct arguments *a, char *const *operands);
int run_keyslot_test(const struct arguments *a, char *const *operands);
int run_server_key_show(const struct arguments *a, char *const *operands);
int run_peer_add(const struct arguments *a, char *const *operands);
int run_peer_list(const struct arguments *a, char *const *operands);
int run_peer_remove(const struct arguments *a, char *const *operands);
int run_export(const struct arguments *a, char *const *operands);
int run_import(const struct arguments *a, char *const *operands);
int run_take_back(const struct arguments *a, char *const *operands);
int run_backup(const struct arguments *a, char *const *operands);
int run_pcr_policy_sign(const struct arguments *a, char *const *operands);
int run_ekcert_request(const struct arguments *a, char *const *operands);
int run_ekcert_sign(const struct arguments *a, char *const *operands);
int run_ekcert_install(const struct arguments *a, char *const *operands);
int run_ekcert_show(const struct arguments *a, char *const *operands);
int run_host_ak_create(const struct arguments *a, char *const *operands);
int run_host_ak_show(const struct arguments *a, char *const *operands);
int run_certify_request(const struct arguments *a, char *const *operands);
int run_certify_challenge(const struct arguments *a, char *const *operands);
int run_certify_answer(const struct arguments *a, char *const *operands);
int run_certify_sign(const struct arguments *a, char *const *operands);
int run_quote(const struct arguments *a, char *const *operands);
int run_verify_quote(const struct arguments *a, char *const *operands);
int run_status(const struct arguments *a, char *const *operands);
int run_anchor(const struct arguments *a, char *const *operands);
int run_check(const struct arguments *a, char *const *operands);
int run_events(const struct arguments *a, char *const *operands);

#endif
