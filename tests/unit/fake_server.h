/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server with one instance, or a chain of them, without I/O: the rules of docs/record-and-recovery.md, "Who repeats what", and a TPM
 * that counts how often each command had its effect.
 *
 * A command carries an id at bytes 10-13; the response is 00 C4, size 18, rc 0, the id, and how many effects there
 * have been in all when it ran.
 */
#ifndef VTPM_TESTS_FAKE_SERVER_H
#define VTPM_TESTS_FAKE_SERVER_H

#include "proto/channel.h"
#include "proto/message.h"

#define FAKE_IDENTITY "00112233-4455-6677-8899-aabbccddeeff"
#define FAKE_HOST     "host:test"
#define FAKE_IDS      4096
#define FAKE_COMMAND  14
#define FAKE_RESPONSE 18

struct fake {
    struct fake *next;      /* another instance of the same server */
    const char *identity;
    struct vt_key key;
    bool unknown;           /* the identity is not known (yet) */
    bool on;
    unsigned locality;      /* of the last command */
    unsigned power_ons, power_acts, startup;
    unsigned domid;         /* of the last PowerOn; UINT32_MAX: none */
    char domain[65];        /* and its name */
    unsigned attaches, detaches, offs;
    bool has_record;
    uint8_t stream[16];
    uint64_t n;
    uint8_t command[4096];
    size_t command_len;
    uint8_t response[FAKE_RESPONSE];
    unsigned effects[FAKE_IDS];
    unsigned total;
    unsigned refused;       /* numbers that did not fit */
    int answer_error;       /* the next Execute is answered by Error with this code, once */
    bool answer_fatal;
    int execute_error;      /* every Execute is answered by Error with this code; nothing is executed */
    int power_error;        /* the same for PowerOn */
    bool no_answer;         /* executes, but keeps the response to itself */
    int attach_error;       /* each Attach is refused with this code, fatal */
};

struct fake_conn;

int fake_random(void *ctx, unsigned char *out, size_t len);
void fake_init(struct fake *fake);
/* NULL: out of memory. */
struct fake_conn *fake_open(struct fake *fake);
/* The instance that the connection's identity names; the first one until then. */
struct fake *fake_of(struct fake_conn *conn);
void fake_close(struct fake_conn *conn);
/* False: close the connection (after sending the output). */
bool fake_bytes(struct fake_conn *conn, const void *bytes, size_t len);
struct vt_buf *fake_output(struct fake_conn *conn);
/* Error{fatal} from the server's own side. */
void fake_refuse(struct fake_conn *conn, int err, const char *text);

void fake_command(uint8_t out[FAKE_COMMAND], uint32_t id);
uint32_t fake_response_id(const uint8_t *response);
uint32_t fake_response_total(const uint8_t *response);

#endif
