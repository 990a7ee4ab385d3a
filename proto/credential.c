/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/credential.h"

#include <stdio.h>

struct reader {
    const char *path;
    unsigned line;
    bool has_identity, has_key;
    struct credential *to;
    struct vt_why *why;
};

static int bad_line(struct reader *reader, const char *what)
{
    return vt_fail(reader->why, VT_EUSAGE, "%s:%u: %s; make a new file with `vtpmctl credential rotate`", reader->path,
                   reader->line, what);
}

static int take_uuid(struct reader *reader, const char *value)
{
    struct credential *to = reader->to;

    if (to->has_uuid)
        return bad_line(reader, "a second uuid=");
    if (!vt_uuid_parse(&to->uuid, value))
        return bad_line(reader, "uuid= is not a uuid of 36 characters");
    to->has_uuid = true;
    return VT_OK;
}

static int take_identity(struct reader *reader, const char *value)
{
    if (reader->has_identity)
        return bad_line(reader, "a second identity=");
    if (strncmp(value, "host:", 5) != 0 || !vt_name_valid(value + 5))
        return bad_line(reader, "identity= is not host:NAME with NAME of 1 to 64 letters, digits, '.', '_' or '-'");
    snprintf(reader->to->identity, sizeof reader->to->identity, "%s", value);
    reader->has_identity = true;
    return VT_OK;
}

static int take_key(struct reader *reader, const char *value)
{
    if (reader->has_key)
        return bad_line(reader, "a second key=");
    if (!vt_unhex(reader->to->key.bytes, sizeof reader->to->key.bytes, value))
        return bad_line(reader, "key= is not 64 hexadecimal digits");
    reader->has_key = true;
    return VT_OK;
}

static const struct {
    const char *name;
    int (*take)(struct reader *reader, const char *value);
} keys[] = {{"uuid=", take_uuid}, {"identity=", take_identity}, {"key=", take_key}};

static int take_line(struct reader *reader, const char *line)
{
    reader->line++;
    if (!*line || *line == '#')
        return VT_OK;
    for (size_t i = 0; i < VT_COUNT(keys); i++)
        if (strncmp(line, keys[i].name, strlen(keys[i].name)) == 0)
            return keys[i].take(reader, line + strlen(keys[i].name));
    return bad_line(reader, "not a line uuid=, identity= or key=");
}

/* As strsep, which not every libc has. */
static char *next_line(char **rest)
{
    char *line = *rest, *end = line ? strchr(line, '\n') : NULL;

    if (end)
        *end++ = '\0';
    *rest = end;
    return line;
}

/* Alters text. */
static int take_text(struct reader *reader, char *text)
{
    struct credential *to = reader->to;
    char *rest = text, *line;
    int err;

    while ((line = next_line(&rest)) != NULL) {
        err = take_line(reader, line);
        if (err)
            return err;
    }
    if (!reader->has_key || (!to->has_uuid && !reader->has_identity))
        return vt_fail(reader->why, VT_EUSAGE, "%s: no line %s", reader->path,
                       reader->has_key ? "uuid= or identity=" : "key=");
    if (!reader->has_identity)
        vt_uuid_text(to->identity, &to->uuid);
    return VT_OK;
}

int credential_parse(struct credential *credential, char *text, const char *path, struct vt_why *why)
{
    struct reader reader = {.path = path, .to = credential, .why = why};
    int err;

    *credential = (struct credential){.has_uuid = false};
    err = take_text(&reader, text);
    if (err)
        credential_wipe(credential);
    return err;
}

void credential_wipe(struct credential *credential)
{
    vt_wipe(credential, sizeof *credential);
}
