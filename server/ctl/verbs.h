/* SPDX-License-Identifier: Apache-2.0 */
/* What main.c found on the command line, and the verbs that it calls. */
#ifndef VTPM_CTL_VERBS_H
#define VTPM_CTL_VERBS_H

#include "server/ctl/ctl.h"

#define INSTANCES_MAX 256

enum given {
    OPT_UUID = 1, OPT_NO_EK = 2, OPT_PROFILE = 4, OPT_CREDENTIAL = 8, OPT_YES = 16, OPT_VERIFY = 32, OPT_INSTANCE = 64,
    OPT_GROUP = 128, OPT_PREDICT = 256, OPT_PEER = 1 << 16, OPT_PCR = 1 << 17, OPT_FILE = 1 << 18,
    OPT_DIGEST = 1 << 19, OPT_LABEL = 1 << 20, OPT_ONCE = 1 << 21, OPT_ALWAYS = 1 << 22, OPT_LIST = 1 << 23,
    OPT_CLEAR = 1 << 24, OPT_REQUIRE = 1 << 25, OPT_CANCEL = 1 << 26, OPT_DRY_RUN = 1 << 27,
    OPT_KEY = 1 << 28, OPT_PCRS = 1 << 29, OPT_TO = 1 << 9, OPT_OUT = 1 << 10, OPT_CA_KEY = 1 << 11,
    OPT_CA_CERT = 1 << 12, OPT_DAYS = 1 << 13, OPT_PEM = 1 << 14, OPT_NONCE = 1 << 15, OPT_DEEP = 1 << 30
};

/* An enum has no room for more. */
#define OPT_ADDRESS (1ull << 32)
#define OPT_FROM    (1ull << 33)

struct arguments {
    struct ctl ctl;
    uint64_t given;         /* enum given, and the next two */
    char *uuid, *profile, *credential, *group, *predict, *peer, *pcr, *file, *digest, *label, *key, *pcrs, *to;
    char *address, *from;
    char *out, *ca_key, *ca_cert, *days, *nonce;
    char *instances[INSTANCES_MAX];
    size_t instance_count;
    char *words[4];         /* noun, verb, operands */
    int word_count;
};

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
int run_expect(const struct arguments *a, char *const *operands);
int run_expected(const struct arguments *a, char *const *operands);
int run_unexpect(const struct arguments *a, char *const *operands);
int run_backup(const struct arguments *a, char *const *operands);
int run_pcr_policy_sign(const struct arguments *a, char *const *operands);
int run_ekcert_request(const struct arguments *a, char *const *operands);
int run_ekcert_sign(const struct arguments *a, char *const *operands);
int run_ekcert_install(const struct arguments *a, char *const *operands);
int run_ekcert_show(const struct arguments *a, char *const *operands);
int run_host_ak_create(const struct arguments *a, char *const *operands);
int run_host_ak_show(const struct arguments *a, char *const *operands);
int run_quote(const struct arguments *a, char *const *operands);
int run_verify_quote(const struct arguments *a, char *const *operands);
int run_status(const struct arguments *a, char *const *operands);
int run_anchor(const struct arguments *a, char *const *operands);
int run_check(const struct arguments *a, char *const *operands);
int run_events(const struct arguments *a, char *const *operands);

#endif
