/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exported instance: the input is what stands in clear, or (it begins otherwise) the contents that a peer signed.
 * What is read holds to its bounds; contents that are taken are written back as they were.
 */
#include "server/base/alloc.h"
#include "server/core/store/bundle.h"
#include "server/core/store/server_key.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc VT_UNUSED, char ***argv VT_UNUSED)
{
    return cr_init();
}

static void try_head(const uint8_t *bytes, size_t len)
{
    static const struct bundle_head nothing;
    static const uint8_t pub[CR_EC_PUBLIC];
    struct vt_why why = {{0}};
    struct bundle_head head;
    int err = bundle_read(&head, bytes, len, &why);

    FUZZ_CHECK(err == VT_OK || err == VT_EDAMAGED);
    if (err) {
        FUZZ_CHECK(why.text[0] && !memcmp(&head, &nothing, sizeof nothing));
        return;
    }
    FUZZ_CHECK(head.sealed_len < len && head.sealed_len <= BUNDLE_CONTENTS_MAX && len <= BUNDLE_MAX);
    FUZZ_CHECK(bundle_verify(bytes, len, pub, NULL) != VT_OK);
}

static void check_taken(const struct moving *moving, const uint8_t *bytes, size_t len)
{
    uint8_t *again;
    size_t again_len;

    FUZZ_CHECK(vt_name_valid(moving->name) && moving->binding_count <= DB_BINDINGS_MAX);
    FUZZ_CHECK(moving->record.permanent.len && moving->record.seq == moving->record.base_seq);
    FUZZ_CHECK(moving_encode(moving, &again, &again_len) == VT_OK);
    FUZZ_CHECK(again_len == len && !memcmp(again, bytes, len));
    vt_free_wiped(again, again_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct moving nothing;
    static struct moving moving;
    int err;

    try_head(bytes, len);
    err = moving_decode(&moving, bytes, len, NULL);
    FUZZ_CHECK(err == VT_OK || err == VT_EDAMAGED || err == VT_ENOMEM);
    if (err) {
        FUZZ_CHECK(!memcmp(&moving, &nothing, sizeof nothing));
        return 0;
    }
    check_taken(&moving, bytes, len);
    moving_free(&moving);
    return 0;
}

static void fill(struct moving *moving)
{
    *moving = (struct moving){.uuid = {{1}}, .name = "vm", .profile = "pc-client", .created = 1, .binding_count = 2,
                              .bindings = {"dom0", "backend:name:driver"},
                              .record = {.seq = 3, .base_seq = 3, .power = RECORD_ON}};
    FUZZ_CHECK(!record_set(&moving->record.volatile_state, "volatile", 8));
    FUZZ_CHECK(!record_set(&moving->record.permanent, "permanent", 9));
}

void fuzz_seeds(fuzz_emit emit, void *arg)
{
    static struct moving moving;
    struct bundle_head head = {.id = {1}, .source = {{2}}, .target = {{3}}, .time = 4};
    struct vt_key key = {{[31] = 1}};
    uint8_t pub[CR_EC_PUBLIC], *bytes;
    size_t len;

    fill(&moving);
    FUZZ_CHECK(!moving_encode(&moving, &bytes, &len));
    emit(arg, "seed-contents", bytes, len);
    vt_free_wiped(bytes, len);
    FUZZ_CHECK(!cr_ec_public(&key, pub) && !bundle_make(&head, &key, pub, &moving, &bytes, &len));
    emit(arg, "seed-bundle", bytes, len);
    emit(arg, "seed-cut", bytes, len - 1);
    vt_free(bytes);
    moving_free(&moving);
}
