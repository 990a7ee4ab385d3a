/* SPDX-License-Identifier: Apache-2.0 */
/* A TPM 1.2: this project's own engine, with an owner and the well-known SRK secret, one connection at a time. */
#include "tests/fault/host_tpm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/engine/engine.h"
#include "server/wire/commands.h"

static struct host_history history;
static struct {
    struct tpm *tpm;
    uint64_t now_us;
    pthread_mutex_t lock;
    pthread_t thread;
    int listener;
    char path[100];
} host = {.lock = PTHREAD_MUTEX_INITIALIZER};
static const struct tpm_ops ops;

#define must(holds) ((holds) ? (void)0 : broken(#holds))

static void broken(const char *what)
{
    fprintf(stderr, "the host TPM of the test: %s\n", what);
    abort();
}

static void save(void)
{
    static uint8_t bytes[TPM_FROZEN_PERMANENT_MAX];
    size_t len = sizeof bytes;

    must(!tpm_freeze_permanent(host.tpm, bytes, &len));
    host_note(&history, bytes, len);
}

static size_t execute(const uint8_t *command, size_t len, uint8_t *response)
{
    size_t out = TPM_BUFFER;
    unsigned dirty;

    pthread_mutex_lock(&host.lock);
    tpm_execute(host.tpm, 0, host.now_us += 1000, command, len, response, &out, &dirty);
    if (dirty & TPM_DIRTY_PERMANENT)
        save();
    pthread_mutex_unlock(&host.lock);
    return out;
}

/* ---- The socket ---- */

static void serve_one(int fd)
{
    uint8_t command[TPM_BUFFER], response[TPM_BUFFER];
    ssize_t n;

    /* hwtpm sends a command in one write. */
    while ((n = read(fd, command, sizeof command)) > 0) {
        size_t len = execute(command, (size_t)n, response);

        if (write(fd, response, len) != (ssize_t)len)
            break;
    }
    close(fd);
}

static void *serve(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(host.listener, NULL, NULL)) >= 0)
        serve_one(fd);
    return NULL;
}

static void listen_at(const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(host.path, sizeof host.path, "%s/tpm12", dir);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", host.path);
    host.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(host.listener >= 0 && !bind(host.listener, (struct sockaddr *)&address, sizeof address) &&
         !listen(host.listener, 8) && !pthread_create(&host.thread, NULL, serve, NULL));
}

/* ---- Power ---- */

static void command(uint32_t ordinal, const void *params, size_t len)
{
    struct tpm_request_header header = {.tag = TPM_TAG_RQU_COMMAND, .param_size = (uint32_t)(10 + len),
                                        .ordinal = ordinal};
    uint8_t bytes[64], response[TPM_BUFFER];
    struct wr w = wr_to(bytes, sizeof bytes);
    struct rd r = rd_from(response, 10);
    struct tpm_response_header answer;

    wr_request_header(&w, &header);
    wr_copy(&w, params, len);
    must(!w.bad && execute(bytes, w.len, response) >= 10);
    rd_response_header(&r, &answer);
    must(!answer.return_code);
}

static void switch_on(uint8_t firmware)
{
    static const uint8_t st_clear[2] = {0, 1};
    uint8_t extend[4 + CR_SHA1_LEN] = {0, 0, 0, HOST12_PCR, firmware};

    must(!tpm_init(host.tpm));
    command(TPM_ORD_Startup, st_clear, sizeof st_clear);
    command(TPM_ORD_Extend, extend, sizeof extend);
}

static void boot(const struct host_state *state, uint8_t firmware)
{
    uint8_t entropy[32];
    struct tpm *tpm;

    must(!tpm_thaw(&tpm, state->bytes, state->len, NULL, 0, &ops, NULL));
    must(!cr_os_random(entropy, sizeof entropy));
    tpm_stir(tpm, entropy, sizeof entropy);
    pthread_mutex_lock(&host.lock);
    tpm_free(host.tpm);
    host.tpm = tpm;
    pthread_mutex_unlock(&host.lock);
    switch_on(firmware);
}

/* ---- Making ---- */

/* As TPM_TakeOwnership would leave it: its own test shows that. */
static void put_owner(struct permanent *perm)
{
    struct tpm_key_obj *srk = &perm->srk.key;
    struct cr_drbg drbg;
    uint8_t seed[CR_DRBG_SEED];

    must(!cr_os_random(seed, sizeof seed));
    cr_drbg_init(&drbg, seed, "srk", 3);
    *srk = (struct tpm_key_obj){.auth_data_usage = TPM_AUTH_ALWAYS, .payload = TPM_PT_ASYM, .usage = TPM_KEY_STORAGE,
                                .enc_scheme = TPM_ES_RSAESOAEP_SHA1_MGF1, .sig_scheme = TPM_SS_NONE};
    must(!cr_rsa_generate(&srk->rsa, 2048, 65537, &drbg));
    key_pub_digest(srk, srk->pub_digest);
    perm->srk.handle = TPM_KH_SRK;
    perm->owned = true;
    cr_sha1(perm->owner_auth.bytes, HOST12_OWNER, strlen(HOST12_OWNER));
}

static void make(const char *dir)
{
    uint8_t seed[CR_DRBG_SEED];
    struct tpm_profile profile;

    tpm_profile_pc_client(&profile);
    must(!cr_os_random(seed, sizeof seed));
    must(!tpm_manufacture(&host.tpm, &profile, seed, true, &ops));
    put_owner(&host.tpm->perm);
    host.now_us = 1000000;
    save();
    switch_on(1);
    listen_at(dir);
}

static void unmake(void)
{
    shutdown(host.listener, SHUT_RDWR);
    pthread_join(host.thread, NULL);
    close(host.listener);
    unlink(host.path);
    tpm_free(host.tpm);
    host.tpm = NULL;
    host_free(&history);
}

static void place(char *out, size_t size)
{
    snprintf(out, size, "device=unix:%s", host.path);
}

const struct host_tpm host_tpm12 = {"TPM 1.2", &history, make, boot, unmake, place};
