/* SPDX-License-Identifier: Apache-2.0
 * TPM 1.2 commands to a device, with their answers and the time they took.
 *
 *   tpmcmd pcr N              40 hexadecimal digits
 *   tpmcmd extend N HEX20     the new value
 *   tpmcmd random N           N bytes
 *   tpmcmd ek                 the modulus of the endorsement key
 *   tpmcmd send HEX           the whole answer to a whole command
 *   tpmcmd bench COUNT        PcrRead and GetRandom(16), COUNT times each: median and 99th percentile in ms
 *   tpmcmd chain N FILE       extends without end by 01..01 until FILE.stop exists; in FILE all the while:
 * how many, the value, how many gave no answer, the longest wait in ms
 *
 * When the driver loses patience (ETIME: a server that is started again, a machine that is busy), pcr, random
 * and ek are sent once more, for a minute; so is extend, unless the PCR shows that it was done.
 *
 * The device is /dev/tpm0, or $TPM_DEVICE: a device, or the socket of a shim. Exit 1: no answer; 3: the TPM's
 * return code, on standard error.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 4096, HEADER = 10, TAG = 0xC1 };
enum { ORD_EXTEND = 0x14, ORD_PCR_READ = 0x15, ORD_GET_RANDOM = 0x46, ORD_READ_PUBEK = 0x7C };

static int device;
static uint8_t answer[ROOM];
static size_t answer_size;
static double patience_ms;

static void fail(const char *what)
{
    fprintf(stderr, "tpmcmd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t *put32(uint8_t *p, uint32_t n)
{
    uint32_t big = htobe32(n);

    memcpy(p, &big, 4);
    return p + 4;
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void transact(const uint8_t *command, size_t size)
{
    double end = now_ms() + patience_ms;
    ssize_t n;

    while ((n = write(device, command, size)) < 0 && errno == ETIME && now_ms() < end)
        ;
    if (n != (ssize_t)size)
        fail("write");
    n = read(device, answer, sizeof answer);
    if (n < HEADER)
        fail("read");
    answer_size = (size_t)n;
}

/* An ordinal with its parameters; the answer's parameters follow its header. */
static void call(uint32_t ordinal, const uint8_t *params, size_t size)
{
    uint8_t command[256] = {0, TAG};

    put32(put32(command + 2, (uint32_t)(HEADER + size)), ordinal);
    memcpy(command + HEADER, params, size);
    transact(command, HEADER + size);
    if (get32(answer + 6) != 0) {
        fprintf(stderr, "tpmcmd: TPM return code 0x%x\n", (unsigned)get32(answer + 6));
        exit(3);
    }
}

static void call_number(uint32_t ordinal, uint32_t n)
{
    uint8_t params[4];

    put32(params, n);
    call(ordinal, params, sizeof params);
}

static void print_hex(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", data[i]);
    printf("\n");
}

static size_t unhex(const char *text, uint8_t *out, size_t room)
{
    size_t n = 0;
    unsigned byte;

    while (n < room && sscanf(text + 2 * n, "%2x", &byte) == 1 && text[2 * n + 1])
        out[n++] = (uint8_t)byte;
    return n;
}

static void read_pcr(uint32_t pcr, uint8_t value[20])
{
    patience_ms = 60e3;
    call_number(ORD_PCR_READ, pcr);
    memcpy(value, answer + HEADER, 20);
}

static void do_extend(uint32_t pcr, const char *digest)
{
    uint8_t command[HEADER + 24] = {0, TAG, 0, 0, 0, HEADER + 24, 0, 0, 0, ORD_EXTEND}, before[20], after[20];
    ssize_t n;

    put32(command + HEADER, pcr);
    if (unhex(digest, command + HEADER + 4, 20) != 20) {
        fprintf(stderr, "tpmcmd: extend wants 40 hexadecimal digits\n");
        exit(2);
    }
    read_pcr(pcr, before);
    do {
        n = write(device, command, sizeof command);
        if (n == sizeof command && read(device, answer, sizeof answer) != HEADER + 20)
            fail("extend");
        if (n < 0 && errno != ETIME)
            fail("extend");
        read_pcr(pcr, after);
    } while (memcmp(before, after, 20) == 0);
    print_hex(after, 20);
}

/* TPM_PUBKEY: 4 + 2 + 2 bytes, the length of the parameters, these, the length of the modulus, it; a
 * checksum. */
static void do_ek(void)
{
    uint8_t nonce[20] = "any nonce will do";
    const uint8_t *pubkey = answer + HEADER;
    size_t at;

    call(ORD_READ_PUBEK, nonce, sizeof nonce);
    at = 12 + get32(pubkey + 8);
    if (at + 4 > answer_size || at + 4 + get32(pubkey + at) > answer_size)
        fail("the public key's lengths");
    print_hex(pubkey + at + 4, get32(pubkey + at));
}

static void do_send(const char *text)
{
    static uint8_t command[ROOM];

    transact(command, unhex(text, command, sizeof command));
    print_hex(answer, answer_size);
}

/* FILE is replaced as a whole: who reads it sees one state. */
static void report(const char *path, unsigned done, const uint8_t *value, unsigned failed, double longest)
{
    char partial[256];
    FILE *f;

    snprintf(partial, sizeof partial, "%s.partial", path);
    f = fopen(partial, "w");
    if (!f)
        fail(partial);
    fprintf(f, "%u ", done);
    for (size_t i = 0; i < 20; i++)
        fprintf(f, "%02x", value[i]);
    fprintf(f, " %u %.0f\n", failed, longest);
    if (fclose(f) != 0 || rename(partial, path) != 0)
        fail(path);
}

/* A command without answer was done or was not: whoever checks the chain allows for both. */
static int extend_once(uint32_t pcr)
{
    uint8_t command[HEADER + 24] = {0, TAG, 0, 0, 0, HEADER + 24, 0, 0, 0, ORD_EXTEND};
    ssize_t n;

    put32(command + HEADER, pcr);
    memset(command + HEADER + 4, 1, 20);
    if (write(device, command, sizeof command) != (ssize_t)sizeof command)
        return 0;
    n = read(device, answer, sizeof answer);
    return n == HEADER + 20 && get32(answer + 6) == 0;
}

static void do_chain(uint32_t pcr, const char *path)
{
    char stop[256];
    uint8_t value[20] = {0};
    unsigned done = 0, failed = 0;
    double longest = 0;

    snprintf(stop, sizeof stop, "%s.stop", path);
    while (access(stop, F_OK) != 0) {
        double begun = now_ms(), took;
        int ok = extend_once(pcr);

        took = now_ms() - begun;
        longest = took > longest ? took : longest;
        if (ok) {
            memcpy(value, answer + HEADER, 20);
            done++;
        } else {
            failed++;
        }
        report(path, done, value, failed, longest);
        usleep(30000); /* the one processor has others to serve */
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void bench(const char *name, uint32_t ordinal, uint32_t n, size_t count)
{
    double *times = calloc(count, sizeof *times);

    if (!times)
        fail("memory");
    for (size_t i = 0; i < count; i++) {
        double begun = now_ms();

        call_number(ordinal, n);
        times[i] = now_ms() - begun;
    }
    qsort(times, count, sizeof *times, by_size);
    printf("%s %.2f %.2f\n", name, times[count / 2], times[count - 1 - count / 100]);
    free(times);
}

static void open_device(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    device = open(path, O_RDWR | O_CLOEXEC);
    if (device < 0 && errno == ENXIO) {
        snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
        device = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (device >= 0 && connect(device, (struct sockaddr *)&a, sizeof a) < 0)
            fail(path);
    }
    if (device < 0)
        fail(path);
}

int main(int argc, char **argv)
{
    const char *path = getenv("TPM_DEVICE") ? getenv("TPM_DEVICE") : "/dev/tpm0",
               *verb = argc > 1 ? argv[1] : "";
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 0;

    open_device(path);
    if (strcmp(verb, "pcr") == 0 || strcmp(verb, "random") == 0 || strcmp(verb, "ek") == 0)
        patience_ms = 60e3;
    if (argc == 3 && strcmp(verb, "pcr") == 0) {
        call_number(ORD_PCR_READ, n);
        print_hex(answer + HEADER, 20);
    } else if (argc == 4 && strcmp(verb, "extend") == 0) {
        do_extend(n, argv[3]);
    } else if (argc == 4 && strcmp(verb, "chain") == 0) {
        do_chain(n, argv[3]);
    } else if (argc == 3 && strcmp(verb, "random") == 0) {
        call_number(ORD_GET_RANDOM, n);
        print_hex(answer + HEADER + 4, answer_size - HEADER - 4);
    } else if (argc == 2 && strcmp(verb, "ek") == 0) {
        do_ek();
    } else if (argc == 3 && strcmp(verb, "send") == 0) {
        do_send(argv[2]);
    } else if (argc == 3 && strcmp(verb, "bench") == 0 && n > 0) {
        bench("PcrRead", ORD_PCR_READ, 10, n);
        bench("GetRandom", ORD_GET_RANDOM, 16, n);
    } else {
        fprintf(
            stderr,
            "usage: tpmcmd pcr N | extend N HEX20 | random N | ek | send HEX | bench COUNT | chain N FILE\n");
        return 2;
    }
    return 0;
}
