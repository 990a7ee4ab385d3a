/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery keys as people write them down: docs/keys.md. */
#include "server/core/keyslot/keyslot.h"

#include "server/crypto/crypto.h"

/* Letters that lie on the same keys of most keyboards; the value of a letter is its place. */
static const char letters[] = "cbdefghijklnrtuv";

#define GROUP 8
#define LETTERS 64

int recovery_make(char text[RECOVERY_TEXT], uint8_t secret[32])
{
    int err = cr_os_random(secret, 32);
    char *at = text;

    if (err)
        return err;
    for (size_t i = 0; i < LETTERS; i++) {
        if (i && i % GROUP == 0)
            *at++ = '-';
        *at++ = letters[i % 2 ? secret[i / 2] & 15 : secret[i / 2] >> 4];
    }
    *at = '\0';
    return VT_OK;
}

static int letter_value(char c)
{
    const char *at;

    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

static bool is_skipped(char c)
{
    return c == '-' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Names a wrong character's place, never the character: it may be part of a key. */
static int read_letters(const char *text, uint8_t secret[32], struct vt_why *why)
{
    size_t count = 0;

    for (size_t i = 0; text[i]; i++) {
        int value = letter_value(text[i]);

        if (is_skipped(text[i]))
            continue;
        if (value < 0)
            return vt_fail(why, VT_EUSAGE, "recovery key: the character at position %zu is none of %s", i + 1, letters);
        if (count == LETTERS)
            return vt_fail(why, VT_EUSAGE, "recovery key: more than %d letters, from position %zu on", LETTERS, i + 1);
        if (count % 2)
            secret[count / 2] = (uint8_t)(secret[count / 2] | value);
        else
            secret[count / 2] = (uint8_t)(value << 4);
        count++;
    }
    if (count < LETTERS)
        return vt_fail(why, VT_EUSAGE, "recovery key: %zu letters, but there must be %d (8 groups of 8)", count, LETTERS);
    return VT_OK;
}

int recovery_parse(const char *text, uint8_t secret[32], struct vt_why *why)
{
    int err = read_letters(text, secret, why);

    if (err)
        vt_wipe(secret, 32);
    return err;
}
