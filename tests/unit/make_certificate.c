/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/make_certificate.h"

#define ROOM 4096

/* Written from the end to the beginning: so each length is known when it is written. */
struct back {
    uint8_t bytes[ROOM];
    size_t at;
};

static void put(struct back *b, const void *bytes, size_t len)
{
    b->at -= len;
    memcpy(b->bytes + b->at, bytes, len);
}

static void put1(struct back *b, uint8_t byte)
{
    put(b, &byte, 1);
}

/* Around what was written since the place `end`. */
static void wrap(struct back *b, uint8_t tag, size_t end)
{
    size_t len = end - b->at;

    put1(b, (uint8_t)len);
    if (len > 0xFF)
        put1(b, (uint8_t)(len >> 8));
    if (len > 0x7F)
        put1(b, len > 0xFF ? 0x82 : 0x81);
    put1(b, tag);
}

static void put_number(struct back *b, const uint8_t *bytes, size_t len)
{
    size_t end = b->at;

    put(b, bytes, len);
    if (len && bytes[0] & 0x80)
        put1(b, 0);
    wrap(b, 0x02, end);
}

static void put_exponent(struct back *b, uint32_t e)
{
    uint8_t bytes[4] = {(uint8_t)(e >> 24), (uint8_t)(e >> 16), (uint8_t)(e >> 8), (uint8_t)e};
    size_t skip = 0;

    while (skip < 3 && !bytes[skip])
        skip++;
    put_number(b, bytes + skip, 4 - skip);
}

static void put_algorithm(struct back *b, const struct certificate_parts *parts)
{
    static const uint8_t rsa[] = {0x06, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 0x05, 0};
    /* pSourceAlgorithm [2] {id-pSpecified, "TCPA"} */
    static const uint8_t oaep[] = {0x06, 9,    0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1,    1,    7,    0x30,
                                   0x15, 0xA2, 0x13, 0x30, 0x11, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7,
                                   0x0D, 0x01, 0x01, 0x09, 0x04, 0x04, 'T',  'C',  'P',  'A'};
    static const uint8_t ec[] = {0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 0x05, 0};
    size_t end = b->at;

    if (parts->elliptic)
        put(b, ec, sizeof ec);
    else if (parts->oaep)
        put(b, oaep, sizeof oaep);
    else
        put(b, rsa, sizeof rsa);
    wrap(b, 0x30, end);
}

static void put_subject_key(struct back *b, const struct certificate_parts *parts)
{
    size_t end = b->at;

    put_exponent(b, parts->exponent);
    put_number(b, parts->modulus, parts->modulus_len);
    wrap(b, 0x30, end);
    put1(b, parts->unused_bits);
    wrap(b, 0x03, end);
    put_algorithm(b, parts);
    wrap(b, 0x30, end);
}

static void put_body(struct back *b, const struct certificate_parts *parts)
{
    static const uint8_t version_3[] = {0xA0, 3, 0x02, 1, 2}, serial[] = {0x02, 1, 1}, empty[] = {0x30, 0};
    size_t end = b->at;

    put(b, ((uint8_t[]){0xA3, 2, 0x30, 0}), 4); /* extensions: none */
    put_subject_key(b, parts);
    for (int i = 0; i < 4; i++) /* signature, issuer, validity, subject */
        put(b, empty, sizeof empty);
    put(b, serial, sizeof serial);
    if (!parts->version_1)
        put(b, version_3, sizeof version_3);
    wrap(b, 0x30, end);
}

size_t make_certificate(uint8_t *out, const struct certificate_parts *parts)
{
    struct back b = {.at = ROOM};
    size_t end;

    b.at -= parts->padding; /* the signature */
    put1(&b, 0);
    wrap(&b, 0x03, ROOM);
    put(&b, ((uint8_t[]){0x30, 0}), 2);
    put_body(&b, parts);
    end = ROOM;
    wrap(&b, 0x30, end);
    memcpy(out, b.bytes + b.at, ROOM - b.at);
    return ROOM - b.at;
}
