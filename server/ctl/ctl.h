/* SPDX-License-Identifier: Apache-2.0 */
/* vtpmctl: one request to the admin socket, one answer for a person or (--json) a program. Single-threaded. */
#ifndef VTPM_CTL_CTL_H
#define VTPM_CTL_CTL_H

#include "proto/admin.pb-c.h"
#include "server/base/err.h"

struct ctl {
    const char *admin;      /* "unix:PATH" */
    bool json;
};

/* client.c: sends one request and waits for the reply (vtpm__admin_reply__free_unpacked). VT_EUNREACHED. The reply's
 * own err is not looked at. */
int ctl_call(const struct ctl *ctl, const Vtpm__AdminRequest *request, Vtpm__AdminReply **reply, struct vt_why *why) VT_USE_RESULT;

/* print.c: stdout. */
void print_instance(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_bindings(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_measurements(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_host_pcrs(const struct ctl *ctl, uint32_t mask);
void print_pace(const struct ctl *ctl, const Vtpm__Instance *instance);
void print_keyslots(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_status(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_check(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_created(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *credential_file);
void print_moved_in(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *credential_file);
void print_credential(const struct ctl *ctl, const Vtpm__AdminReply *reply, const char *credential_file);
void print_server_key(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_peers(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_expected(const struct ctl *ctl, const Vtpm__AdminReply *reply);
void print_exported(const struct ctl *ctl, const char *file, size_t bytes);
void print_backup(const struct ctl *ctl, const Vtpm__Backup *backup, const char *file);
/* A warning that came with success, on stderr. */
void print_warning(const char *text);
void print_pcr_policy(const struct ctl *ctl, const char *pcrs, const char *policy, const char *signature);
void print_ok(const struct ctl *ctl);
/* An endorsement key; its certificate (facts NULL: only its PEM is asked for). */
struct ek_cert_facts;
void print_ek(const struct ctl *ctl, const Vtpm__EkCert *ek, const char *pem);
void print_ek_cert(const struct ctl *ctl, const Vtpm__EkCert *ek, const struct ek_cert_facts *facts, const char *pem);
/* --json: {"error":{...}} on stdout; else a line on stderr. Returns the exit code. */
int print_error(const struct ctl *ctl, int err, const char *text);
/* Lists come in pages: begin, any number of pages, end. */
struct json_t;
struct json_t *print_instances_begin(const struct ctl *ctl);
void print_instances_page(const struct ctl *ctl, struct json_t *list, const Vtpm__AdminReply *reply);
void print_instances_end(const struct ctl *ctl, struct json_t *list);
struct json_t *print_events_begin(const struct ctl *ctl);
void print_events_page(const struct ctl *ctl, struct json_t *list, const Vtpm__AdminReply *reply);
void print_events_end(const struct ctl *ctl, struct json_t *list, bool verify, const char *note);

/*
 * credential.c: the file of CONTRACT.md. Opened before the request is made, so that a path that cannot be written
 * costs no key; dropped again if the request fails.
 */
int credential_begin(const char *path, int *fd, struct vt_why *why) VT_USE_RESULT;
int credential_finish(const char *path, int fd, const Vtpm__Credential *credential, struct vt_why *why) VT_USE_RESULT;
void credential_drop(const char *path, int fd);

/*
 * file.c: whole files of our own. `save_begin` makes one, 0600 and exclusive, before the server does anything;
 * `save_end` syncs it and closes it; `save_drop` removes it again. `load` reads one of at most max bytes (vt_free).
 */
int save_begin(const char *path, int *fd, struct vt_why *why) VT_USE_RESULT;
int save_put(const char *path, int fd, const void *bytes, size_t len, struct vt_why *why) VT_USE_RESULT;
int save_end(const char *path, int fd, struct vt_why *why) VT_USE_RESULT;
void save_drop(const char *path, int fd);
int load_file(const char *path, size_t max, uint8_t **bytes, size_t *len, struct vt_why *why) VT_USE_RESULT;

/*
 * swtpm_dir.c: swtpm's directory of one TPM 1.2. `open` locks it as swtpm does and reads tpm-00.permall (owned,
 * vt_free_wiped); it stays locked until `close`. Nothing is ever written there. `key` gives 16 or 32 bytes.
 */
struct swtpm_dir {
    uint8_t *file;
    size_t len;
    int lock;               /* -1: there is no lock file */
    bool has_saved_state;   /* of TPM_SaveState: it does not come along */
};
int swtpm_dir_open(struct swtpm_dir *dir, const char *path, struct vt_why *why) VT_USE_RESULT;
void swtpm_dir_close(struct swtpm_dir *dir);
#define SWTPM_KEY 32
int swtpm_key_from_file(const char *path, const char *format, uint8_t key[SWTPM_KEY], size_t *len,
                        struct vt_why *why) VT_USE_RESULT;
/* Always SWTPM_KEY bytes: a file of 128 bits takes the first half. */
int swtpm_key_from_password(const char *path, const char *kdf, uint8_t key[SWTPM_KEY], struct vt_why *why) VT_USE_RESULT;

/*
 * predict.c: a file of predicted PCRs, JSON or lines, as lines for hwtpm_pcrs_predict: the files that it names are
 * measured here, with the caller's rights. digest_len: 20 or 32. *text returns owned (vt_free).
 */
int predict_read(const char *path, size_t digest_len, char **text, struct vt_why *why) VT_USE_RESULT;

/* secret_input.c: the secret of an existing slot: a key file at the path the slot remembers, else a line from stdin
 * (not echoed on a terminal). *secret returns owned (vt_free_wiped). */
int secret_of_slot(const Vtpm__Keyslot *slot, uint8_t **secret, size_t *len, struct vt_why *why) VT_USE_RESULT;

#endif
