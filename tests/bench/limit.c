/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What no TPM can beat on this machine, for tests/bench/run:
 *
 *   bench_limit echo ADDRESS [tls KEY]      answers each command of 14 bytes as TPM_PcrRead would, until it is killed;
 *                                           one connection at a time; with tls inside TLS-PSK, of any identity
 *   bench_limit rsa                         for each COUNT on standard input, so many RSA-2048 private operations with CRT of
 *                                           one key: a line with the nanoseconds of CPU of each
 *   bench_limit fdatasync DIR MS [WRITERS]  4 KiB over and over in a file that is there already: operations and nanoseconds;
 *                                           with WRITERS: so many threads with a file each
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/tls.h"
#include "server/base/text.h"
#include "server/crypto/crypto.h"
#include "server/wire/cursor.h"
#include "tests/bench/sock.h"

#ifdef VTPM_HAVE_LIBCRYPTO
#include <openssl/evp.h>
#include <openssl/rsa.h>
#endif

#define BLOCK       4096
#define FILE_BLOCKS 256
#define WRITERS_MAX 64
#define REQUEST     14
#define RESPONSE    30

/* ---- Echo ---- */

static struct vt_key echo_key;

static void on_psk(void *ctx, const char *identity, struct vt_key *key, bool *known)
{
    (void)ctx;
    (void)identity;
    *key = echo_key;
    *known = true;
}

/* A whole, successful response to whatever it was. */
static void make_response(uint8_t out[RESPONSE])
{
    struct wr w = wr_to(out, RESPONSE);

    memset(out, 0, RESPONSE);
    wr_put16(&w, 0xC4);
    wr_put32(&w, RESPONSE);
}

static void echo_plain(int fd)
{
    uint8_t in[REQUEST], out[RESPONSE];

    make_response(out);
    while (recv(fd, in, sizeof in, MSG_WAITALL) == sizeof in && bench_write(fd, out, sizeof out))
        ;
}

/* False: the connection is over. */
static bool tls_turn(int fd, struct tls *tls)
{
    uint8_t bytes[4096];
    struct vt_buf *out = tls_output(tls);
    bool is_sent = bench_write(fd, vt_buf_bytes(out), vt_buf_size(out));
    ssize_t n;

    vt_buf_drop(out, vt_buf_size(out));
    n = recv(fd, bytes, sizeof bytes, 0);
    return is_sent && n > 0 && tls_feed(tls, bytes, (size_t)n) == VT_OK;
}

static int answer(struct tls *tls, struct vt_buf *plain)
{
    uint8_t out[RESPONSE];
    int err = VT_OK;

    make_response(out);
    while (!err)
        err = tls_read(tls, plain);
    while (err == VT_EAGAIN && vt_buf_size(plain) >= REQUEST) {
        vt_buf_drop(plain, REQUEST);
        err = tls_write(tls, out, sizeof out) ? VT_EFAIL : VT_EAGAIN;
    }
    return err;
}

static void echo_tls(int fd)
{
    struct tls_config config = {.server = true, .random = bench_random, .psk = on_psk};
    struct vt_why why = {{0}};
    struct vt_buf plain;
    struct tls *tls;
    int err = tls_new(&tls, &config);

    if (err)
        bench_fail("TLS", vt_err_text(err));
    vt_buf_init(&plain, 65536);
    while ((err = tls_handshake(tls, &why)) == VT_EAGAIN && tls_turn(fd, tls))
        ;
    if (!err)
        err = VT_EAGAIN;
    while (err == VT_EAGAIN && tls_turn(fd, tls))
        err = answer(tls, &plain);
    vt_buf_free(&plain);
    tls_free(tls);
}

static int do_echo(int argc, char **argv)
{
    int listener = bench_listen(argv[2]);
    bool is_tls = argc == 5 && !strcmp(argv[3], "tls");

    if (is_tls && !vt_unhex(echo_key.bytes, sizeof echo_key.bytes, argv[4]))
        bench_fail("echo", "the key has 64 digits");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            bench_fail("accept", NULL);
        if (is_tls)
            echo_tls(fd);
        else
            echo_plain(fd);
        close(fd);
    }
}

/* ---- RSA ---- */

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#ifdef VTPM_HAVE_LIBCRYPTO

static EVP_PKEY_CTX *rsa;

static bool rsa_ready(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);

    rsa = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    EVP_PKEY_free(key);
    return rsa && EVP_PKEY_decrypt_init(rsa) == 1 && EVP_PKEY_CTX_set_rsa_padding(rsa, RSA_NO_PADDING) == 1;
}

static bool rsa_once(const uint8_t in[CR_RSA_MAX], uint8_t out[CR_RSA_MAX])
{
    size_t len = CR_RSA_MAX;

    return EVP_PKEY_decrypt(rsa, out, &len, in, CR_RSA_MAX) == 1;
}

#else

static struct cr_rsa *rsa;

static bool rsa_ready(void)
{
    uint8_t seed[CR_DRBG_SEED];
    struct cr_rsa_key key;
    struct cr_drbg drbg;

    bench_random(NULL, seed, sizeof seed);
    cr_drbg_init(&drbg, seed, NULL, 0);
    return cr_init() == VT_OK && cr_rsa_generate(&key, 2048, 65537, &drbg) == VT_OK && cr_rsa_load(&rsa, &key) == VT_OK;
}

static bool rsa_once(const uint8_t in[CR_RSA_MAX], uint8_t out[CR_RSA_MAX])
{
    return cr_rsa_private_op(rsa, in, out) == VT_OK;
}

#endif

static void rsa_turn(unsigned count)
{
    uint8_t in[CR_RSA_MAX], out[CR_RSA_MAX];

    bench_random(NULL, in, sizeof in);
    in[0] = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t begun = cpu_ns();

        if (!rsa_once(in, out))
            bench_fail("RSA", "the private operation failed");
        printf(" %llu", (unsigned long long)(cpu_ns() - begun));
    }
    puts("");
    fflush(stdout);
}

static int do_rsa(void)
{
    char line[32];

    if (!rsa_ready())
        bench_fail("RSA", "no key");
    while (fgets(line, sizeof line, stdin))
        rsa_turn((unsigned)atoi(line));
    return 0;
}

/* ---- fdatasync ---- */

struct writer {
    pthread_t thread;
    int fd;
    uint64_t end_ns, writes;
};

/* Only data is written later: a file that grows has its size to write as well. */
static void make_file(struct writer *w, const char *dir, unsigned i)
{
    static uint8_t block[BLOCK];
    char path[4096];

    snprintf(path, sizeof path, "%s/fdatasync-%u", dir, i);
    w->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0 || unlink(path))
        bench_fail(path, NULL);
    for (unsigned k = 0; k < FILE_BLOCKS; k++)
        if (pwrite(w->fd, block, sizeof block, k * BLOCK) != BLOCK)
            bench_fail(path, NULL);
    if (fsync(w->fd))
        bench_fail(path, NULL);
}

static void *write_loop(void *arg)
{
    struct writer *w = arg;
    uint8_t block[BLOCK];

    memset(block, 0x5A, sizeof block);
    while (bench_now_ns() < w->end_ns) {
        block[0]++;
        if (pwrite(w->fd, block, sizeof block, (off_t)(w->writes % FILE_BLOCKS) * BLOCK) != BLOCK || fdatasync(w->fd))
            bench_fail("fdatasync", NULL);
        w->writes++;
    }
    return NULL;
}

static int do_fdatasync(int argc, char **argv)
{
    static struct writer writers[WRITERS_MAX];
    unsigned count = argc > 4 ? VT_MIN((unsigned)atoi(argv[4]), WRITERS_MAX) : 1;
    uint64_t begun, writes = 0;

    for (unsigned i = 0; i < count; i++)
        make_file(&writers[i], argv[2], i);
    begun = bench_now_ns();
    for (unsigned i = 0; i < count; i++) {
        writers[i].end_ns = begun + (uint64_t)atoi(argv[3]) * 1000000u;
        if (pthread_create(&writers[i].thread, NULL, write_loop, &writers[i]))
            bench_fail("a thread", NULL);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(writers[i].thread, NULL);
        writes += writers[i].writes;
    }
    printf("%llu %llu\n", (unsigned long long)writes, (unsigned long long)(bench_now_ns() - begun));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && !strcmp(argv[1], "echo"))
        return do_echo(argc, argv);
    if (argc == 2 && !strcmp(argv[1], "rsa"))
        return do_rsa();
    if (argc >= 4 && !strcmp(argv[1], "fdatasync"))
        return do_fdatasync(argc, argv);
    bench_fail("usage", "bench_limit echo ADDRESS [tls KEY] | rsa | fdatasync DIR MS [WRITERS]");
}
