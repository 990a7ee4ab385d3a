/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of PCRs, predictions, and what is remembered of values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "hwtpm/hwtpm.h"
#include "server/base/text.h"

static void test_pcrs_parse__what_people_write(void **state)
{
    static const struct {
        const char *text;
        uint32_t mask;
        const char *again;
    } good[] = {
        {"7", 0x80, "7"}, {"7,4", 0x90, "4,7"}, {"0-7", 0xff, "0,1,2,3,4,5,6,7"}, {"none", 0, "none"},
        {"23", 0x800000, "23"}, {"0,0", 1, "0"},
        {"0-23", 0xffffff, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"},
    };
    static const char *const wrong[] = {"", ",", "7,", ",7", "24", "-1", "7-4", "7-", "a", "7 ", "7;4", "99999999999",
                                        "0-24", "None", "007x", "7,,4"};
    char text[HWTPM_PCRS_TEXT];
    uint32_t mask;

    (void)state;
    for (size_t i = 0; i < VT_COUNT(good); i++) {
        assert_int_equal(hwtpm_pcrs_parse(good[i].text, &mask, NULL), VT_OK);
        assert_int_equal(mask, good[i].mask);
        hwtpm_pcrs_text(text, mask);
        assert_string_equal(text, good[i].again);
    }
    for (size_t i = 0; i < VT_COUNT(wrong); i++)
        if (hwtpm_pcrs_parse(wrong[i], &mask, NULL) != VT_EUSAGE)
            fail_msg("'%s' is taken for a set of PCRs", wrong[i]);
}

static struct hwtpm_pcrs some(uint32_t mask, uint32_t len)
{
    struct hwtpm_pcrs pcrs = {.mask = mask, .len = len};

    for (unsigned n = 0; n < HWTPM_PCRS; n++)
        memset(pcrs.value[n], (int)n + 1, len);
    return pcrs;
}

static void test_pcrs_check__all_zero_or_one__is_refused(void **state)
{
    struct hwtpm_pcrs pcrs = some(0x90, 20);
    struct vt_why why = {0};

    (void)state;
    assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_OK);
    memset(pcrs.value[5], 0, 20); /* not chosen */
    assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_OK);
    memset(pcrs.value[4], 0, 20);
    assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "PCR 4 is all zero"));
    memset(pcrs.value[4], 0xff, 20);
    why = (struct vt_why){0};
    assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "PCR 4 is all one"));
    pcrs.value[4][19] = 0xfe;
    assert_int_equal(hwtpm_pcrs_check(&pcrs, NULL), VT_OK);
}

/* As a host under SeaBIOS shows them, and those of other firmware; computed elsewhere (Python's hashlib). */
static const struct {
    uint32_t len;
    const char *value;
} separators[] = {
    {32, "e21b703ee69c77476bccb43ec0336a9a1b2914b378944f7b00a10214ca8fea93"},
    {32, "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"},
    {32, "a1534f67ec3c933d7b2b33d1a8f7f2801731e849184c9b05fb8c42b2e2cb0106"},
    {32, "d27cc12614b5f4ff85ed109495e320fb1e5495eb28d507e952d51091e7ae2a72"},
    {32, "4413abf55ae932604a172819945e421e230631e8a77b75e628ba1ad65fa6c61f"},
    {32, "50bd7d88f0414b40608f8ffc56fd4f3201b5ed0644e36b8128d33624ebe0f053"},
    {32, "c2c37f16b169937edc76ff5f91adcccc8fdcbcb2329bf6579e21f88d8ba77952"},
    {20, "3a3f780f11a4b49969fcaa80cd6e3957c33b2275"},
    {20, "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236"},
};

static void set_hex(struct hwtpm_pcrs *pcrs, unsigned n, const char *hex)
{
    assert_true(vt_unhex(pcrs->value[n], pcrs->len, hex));
}

static void test_pcrs_check__separators_alone__are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT(separators); i++) {
        struct hwtpm_pcrs pcrs = some(0x81, separators[i].len);
        struct vt_why why = {0};

        set_hex(&pcrs, 7, separators[i].value);
        assert_int_equal(hwtpm_pcrs_separators(&pcrs), 0x80);
        /* PCR 0 is measured. */
        assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_OK);
        set_hex(&pcrs, 0, separators[i].value);
        assert_int_equal(hwtpm_pcrs_separators(&pcrs), 0x81);
        assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_EUSAGE);
        assert_non_null(strstr(why.text, "PCR 0,7: the firmware's separator and nothing else"));
        assert_non_null(strstr(why.text, "pcrs=none"));
        pcrs.mask = 0x80;
        assert_int_equal(hwtpm_pcrs_check(&pcrs, NULL), VT_EUSAGE);
        /* What Secure Boot's firmware measures comes before the separator. */
        pcrs.value[7][0] ^= 1;
        assert_int_equal(hwtpm_pcrs_check(&pcrs, NULL), VT_OK);
        pcrs.mask = 0;
        assert_int_equal(hwtpm_pcrs_check(&pcrs, NULL), VT_OK);
    }
}

static void test_pcrs_check__separator_over_a_measurement__is_measured(void **state)
{
    struct hwtpm_pcrs pcrs = {.mask = 0x80, .len = 32};
    uint8_t digest[32];

    (void)state;
    cr_sha256(digest, "db", 2);
    hwtpm_pcrs_extend(&pcrs, 7, digest);
    cr_sha256(digest, "\0\0\0", 4);
    hwtpm_pcrs_extend(&pcrs, 7, digest);
    assert_int_equal(hwtpm_pcrs_separators(&pcrs), 0);
    assert_int_equal(hwtpm_pcrs_check(&pcrs, NULL), VT_OK);
}

static void test_pcrs_check__locality_of_the_start__is_refused(void **state)
{
    struct hwtpm_pcrs pcrs = some(0x11, 32);
    struct vt_why why = {0};

    (void)state;
    memset(pcrs.value[0], 0, 32);
    pcrs.value[0][31] = 3;
    assert_int_equal(hwtpm_pcrs_check(&pcrs, &why), VT_EUSAGE);
    assert_non_null(strstr(why.text, "PCR 0 holds the locality"));
    pcrs.value[0][31] = 5;
    assert_int_equal(hwtpm_pcrs_check(&pcrs, NULL), VT_OK);
}

static void test_pcrs_predict__values_and_measurements(void **state)
{
    struct hwtpm_pcrs pcrs = some(0x90, 20);
    uint8_t digest[20], hash[20];
    char text[400], hex[41];

    (void)state;
    cr_sha1(digest, "x", 1);
    vt_hex(hex, digest, 20);
    snprintf(text, sizeof text, "# comment\n\n  7: %s # the rest\nreset 4\nextend 4 %s\r\n", hex, hex);
    assert_int_equal(hwtpm_pcrs_predict(&pcrs, text, NULL), VT_OK);
    assert_memory_equal(pcrs.value[7], digest, 20);
    {
        static const uint8_t zero[20];
        struct cr_slice slices[] = {CR_SLICE(zero, 20), CR_SLICE(digest, 20)};

        cr_sha1v(hash, slices, 2);
    }
    assert_memory_equal(pcrs.value[4], hash, 20);
}

static void test_pcrs_predict__wrong__names_the_line(void **state)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"\n7: 00", "line 2 '7: 00'"},
        {"7 0000000000000000000000000000000000000000", "must be"},
        {"extend 7", "40 hex digits"},
        {"reset 7 00", "40 hex digits"},
        {"reset", "must be"},
        {"5: 0000000000000000000000000000000000000000", "not bound"},
        {"24: 0000000000000000000000000000000000000000", "must be"},
        {"extend 7 0000000000000000000000000000000000000000 more", "one word too many"},
        {"7: 00000000000000000000000000000000000000000", "40 hex digits"},
    };
    char longer[400];

    (void)state;
    for (size_t i = 0; i < VT_COUNT(wrong); i++) {
        struct hwtpm_pcrs pcrs = some(0x90, 20);
        struct vt_why why = {0};

        if (hwtpm_pcrs_predict(&pcrs, wrong[i].text, &why) != VT_EUSAGE || !strstr(why.text, wrong[i].says))
            fail_msg("'%s': %s", wrong[i].text, why.text);
    }
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    {
        struct hwtpm_pcrs pcrs = some(0x90, 20);

        assert_int_equal(hwtpm_pcrs_predict(&pcrs, longer, NULL), VT_EUSAGE);
    }
}

static void test_prints__differ__by_pcr(void **state)
{
    struct hwtpm_pcrs pcrs = some(0x90, 32);
    struct hwtpm_prints prints;

    (void)state;
    hwtpm_prints_of(&prints, &pcrs);
    assert_int_equal(hwtpm_prints_differ(&prints, &pcrs), 0);
    pcrs.value[7][0] ^= 1;
    pcrs.value[5][0] ^= 1; /* not bound */
    assert_int_equal(hwtpm_prints_differ(&prints, &pcrs), 0x80);
    pcrs.value[4][7] ^= 1;
    assert_int_equal(hwtpm_prints_differ(&prints, &pcrs), 0x90);
}

/* That the TPM computes the same, test_hwtpm_real.c shows. */
static void test_pcr_policy__depends_on_set_and_values(void **state)
{
    struct hwtpm_pcrs pcrs = some(0x80, 32);
    uint8_t a[32], b[32], c[32];

    (void)state;
    hwtpm_pcr_policy(&pcrs, a);
    pcrs.mask = 0x100;
    memcpy(pcrs.value[8], pcrs.value[7], 32);
    hwtpm_pcr_policy(&pcrs, b);
    assert_memory_not_equal(a, b, 32);
    pcrs.mask = 0;
    hwtpm_pcr_policy(&pcrs, c);
    assert_memory_not_equal(a, c, 32);
    pcrs.mask = 0x80;
    pcrs.value[7][31] ^= 1;
    hwtpm_pcr_policy(&pcrs, b);
    assert_memory_not_equal(a, b, 32);
}

/* What a hostile row could name. */
static void test_where__elsewhere_or_executable__is_refused(void **state)
{
    static const char *const good2[] = {"", "device:/dev/tpmrm0", "swtpm:port=2321", "swtpm:path=/run/t", "tabrmd",
                                        "swtpm:host=127.0.0.1,port=1", "mssim:host=localhost,port=1", "tabrmd:bus_type=session",
                                        "swtpm:port=1,host=::1"},
                      *const wrong2[] = {"cmd:sh -c id", "/tmp/evil.so", "/tmp/evil.so:x", "libevil.so.0", "pcap:device",
                                         "device", "device:x", "swtpm:host=evil,port=1", "swtpm", "libtss2-tcti-cmd.so.0:x",
                                         "swtpm:host=localhost.evil", "mssim:port=1,host=127.0.0.1.evil", "none", "devicex:/"},
                      *const good12[] = {"", "/dev/tpm0", "unix:/run/tpm", "tcp:127.0.0.1:2321", "tcp:localhost:1",
                                         "tcp:[::1]:1"},
                      *const wrong12[] = {"tpm0", "unix:tpm", "tcp:evil:1", "tcp:127.0.0.1.evil:1", "tcp:", "tcp::1",
                                          "tcp:localhostx:1"};

    (void)state;
    for (size_t i = 0; i < VT_COUNT(good2); i++)
        if (hwtpm_where_check(HWTPM_TPM2, good2[i], NULL))
            fail_msg("tcti=%s is refused", good2[i]);
    for (size_t i = 0; i < VT_COUNT(wrong2); i++)
        if (hwtpm_where_check(HWTPM_TPM2, wrong2[i], NULL) != VT_EUSAGE)
            fail_msg("tcti=%s is allowed", wrong2[i]);
    for (size_t i = 0; i < VT_COUNT(good12); i++)
        if (hwtpm_where_check(HWTPM_TPM12, good12[i], NULL))
            fail_msg("device=%s is refused", good12[i]);
    for (size_t i = 0; i < VT_COUNT(wrong12); i++)
        if (hwtpm_where_check(HWTPM_TPM12, wrong12[i], NULL) != VT_EUSAGE)
            fail_msg("device=%s is allowed", wrong12[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pcrs_parse__what_people_write),
        cmocka_unit_test(test_pcrs_check__all_zero_or_one__is_refused),
        cmocka_unit_test(test_pcrs_check__separators_alone__are_refused),
        cmocka_unit_test(test_pcrs_check__separator_over_a_measurement__is_measured),
        cmocka_unit_test(test_pcrs_check__locality_of_the_start__is_refused),
        cmocka_unit_test(test_pcrs_predict__values_and_measurements),
        cmocka_unit_test(test_pcrs_predict__wrong__names_the_line),
        cmocka_unit_test(test_prints__differ__by_pcr),
        cmocka_unit_test(test_where__elsewhere_or_executable__is_refused),
        cmocka_unit_test(test_pcr_policy__depends_on_set_and_values),
    };

    return cr_init() || cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
