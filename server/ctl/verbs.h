/* SPDX-License-Identifier: Apache-2.0 */
/* What main.c found on the command line, and the verbs that it calls. */
#ifndef VTPM_CTL_VERBS_H
#define VTPM_CTL_VERBS_H

#include "server/ctl/ctl.h"

#define INSTANCES_MAX 256

enum option_number {
#define TEXT(name, word, field) OPTION_##name,
#define FLAG(name, word)        OPTION_##name,
#define MANY(name, word, field) OPTION_##name,
#include "server/ctl/options.def"
    OPTION_COUNT
};

/* A set of options: which were given, which a verb takes. */
typedef uint64_t option_set;
_Static_assert(OPTION_COUNT <= 64, "option_set has no room for more");
#define OPT(name) ((option_set)1 << OPTION_##name)

struct arguments {
    struct ctl ctl;
    option_set given;
#define TEXT(name, word, field) char *field;
#define FLAG(name, word)
#define MANY(name, word, field)       \
    char *field[INSTANCES_MAX];       \
    size_t field##_count;
#include "server/ctl/options.def"
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
/* The same for a verb that takes an instance and nothing else. */
int ctl_ask_ref(const struct arguments *a, Vtpm__AdminRequest__VerbCase which, char *instance, Vtpm__AdminReply **reply) VT_USE_RESULT;
/* A request whose answer is printed. */
int ctl_show(const struct arguments *a, const Vtpm__AdminRequest *request,
             void (*print)(const struct ctl *ctl, const Vtpm__AdminReply *reply));
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

/* verbs_instance.c, for --profile: what create says of it; `file` must live as long. */
struct profile_file;
int ctl_take_profile(const struct arguments *a, struct profile_file *file, Vtpm__InstanceCreate *create,
                     struct vt_why *why) VT_USE_RESULT;

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
int run_limits(const struct arguments *a, char *const *operands);
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
int run_import_swtpm(const struct arguments *a, char *const *operands);
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
