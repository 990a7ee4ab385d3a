/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Field lists. One list, F(kind, name) per field in wire order, generates the struct, its reader and writer:
 *
 *     #define FIELDS_sign_info(F) F(bytes4, fixed) F(nonce, replay) F(blob32, data)
 *
 * A kind K has a C type wire_K and two functions, rd_K and wr_K. A generated structure is a kind itself. A
 * list without fields is NO_FIELDS (C has no empty struct). Readers never stop half-way: they set every
 * field, and the cursor tells (rd_result). What they read is trusted only after that. Structures borrow the
 * bytes of the cursor they were read from. Any thread.
 */
#ifndef VTPM_WIRE_SCHEMA_H
#define VTPM_WIRE_SCHEMA_H

#include "server/base/secret.h"
#include "server/wire/constants.h"
#include "server/wire/cursor.h"

/* Part 2, 5.4: TPM_DIGEST and its synonyms (PCR values, composite hashes, tickets). */
struct tpm_digest {
    uint8_t bytes[TPM_DIGEST_LEN];
};

/* Part 2, 5.5: TPM_NONCE. */
struct tpm_nonce {
    uint8_t bytes[TPM_DIGEST_LEN];
};

/*
 * Fixed kinds: X(kind, C type). authdata is TPM_AUTHDATA, TPM_SECRET and TPM_ENCAUTH (Part 2, 5.6). b is
 * TPM_BOOL: anything but 0 and 1 is TPM_BAD_PARAMETER. blob32 and blob16 are a size and so many bytes; rest
 * is what is left.
 */
#define WIRE_BASIC_KINDS(X)                                                                                  \
    X(none, uint8_t)                                                                                         \
    X(u8, uint8_t)                                                                                           \
    X(u16, uint16_t)                                                                                         \
    X(u32, uint32_t)                                                                                         \
    X(u64, uint64_t)                                                                                         \
    X(b, bool)                                                                                               \
    X(digest, struct tpm_digest)                                                                             \
    X(nonce, struct tpm_nonce)                                                                               \
    X(authdata, struct vt_auth)                                                                              \
    X(blob32, struct tpm_blob)                                                                               \
    X(blob16, struct tpm_blob)                                                                               \
    X(rest, struct tpm_blob)

/* Kinds bytesN: plain byte arrays. */
#define WIRE_BYTE_KINDS(X) X(4) X(16) X(26) X(128) X(138) X(256)

#define WIRE_BYTES_STRUCT(n)                                                                                 \
    struct tpm_bytes##n {                                                                                    \
        uint8_t bytes[n];                                                                                    \
    };
WIRE_BYTE_KINDS(WIRE_BYTES_STRUCT)
#undef WIRE_BYTES_STRUCT

#define NO_FIELDS(F) F(none, none)

/* Declares the functions of a kind. */
#define WIRE_KIND(kind, type)                                                                                \
    typedef type wire_##kind;                                                                                \
    void rd_##kind(struct rd *r, wire_##kind *out);                                                          \
    void wr_##kind(struct wr *w, const wire_##kind *in);

#define WIRE_BYTES_KIND(n) WIRE_KIND(bytes##n, struct tpm_bytes##n)
WIRE_BASIC_KINDS(WIRE_KIND)
WIRE_BYTE_KINDS(WIRE_BYTES_KIND)
#undef WIRE_BYTES_KIND

/* A struct of the list's fields. */
#define WIRE_MEMBER(kind, name) wire_##kind name;
#define WIRE_STRUCT(type, FIELDS)                                                                            \
    type                                                                                                     \
    {                                                                                                        \
        FIELDS(WIRE_MEMBER)                                                                                  \
    };

/* Reader and writer of the list; tag 0: a structure without a tag. */
#define WIRE_READ_FIELD(kind, name) rd_##kind(r, &out->name);
#define WIRE_WRITE_FIELD(kind, name) wr_##kind(w, &in->name);
#define WIRE_FUNCTIONS(kind, type, tag, FIELDS)                                                              \
    void rd_##kind(struct rd *r, type *out)                                                                  \
    {                                                                                                        \
        rd_tag(r, tag);                                                                                      \
        FIELDS(WIRE_READ_FIELD)                                                                              \
    }                                                                                                        \
    void wr_##kind(struct wr *w, const type *in)                                                             \
    {                                                                                                        \
        wr_tag(w, tag);                                                                                      \
        FIELDS(WIRE_WRITE_FIELD)                                                                             \
    }

/* A structure tag that must be `tag`, else TPM_INVALID_STRUCTURE. Does nothing for tag 0. */
void rd_tag(struct rd *r, uint16_t tag);
void wr_tag(struct wr *w, uint16_t tag);

/* The next two bytes, without taking them; 0 if there are not so many. */
uint16_t rd_peek16(const struct rd *r);
/* A size field and so many bytes as a cursor of their own; empty and bad if they are not there. */
struct rd rd_sized(struct rd *r);
/* The other way round: a size field that wr_sized_end fills in with what was written since. */
size_t wr_sized_begin(struct wr *w);
void wr_sized_end(struct wr *w, size_t begin);

/*
 * What a command answers to its parameters as they were read: TPM_SUCCESS, the code of the first value that
 * cannot be, or TPM_BAD_PARAM_SIZE if bytes were missing or too many.
 */
tpm_rc rd_result(const struct rd *r) VT_USE_RESULT;

#endif
