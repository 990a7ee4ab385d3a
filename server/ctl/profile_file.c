/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A profile's file: one JSON object of limits. Here it is only taken apart; what limits there are, and what they may
 * be, the server knows.
 */
#include "server/ctl/profile_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "server/base/alloc.h"

#define FILE_MAX (64u * 1024)

bool profile_is_file(const char *profile)
{
    size_t len = strlen(profile);

    return strchr(profile, '/') || (len > 5 && strcmp(profile + len - 5, ".json") == 0);
}

/* Without a "name" the file's own is the profile's. */
static void name_after(struct profile_file *file, const char *path)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t len = strlen(base);

    if (len > 5 && strcmp(base + len - 5, ".json") == 0)
        len -= 5;
    snprintf(file->name, sizeof file->name, "%.*s", (int)VT_MIN(len, sizeof file->name - 1), base);
}

static json_t *load(const char *path, struct vt_why *why)
{
    FILE *stream = fopen(path, "re");
    VT_AUTOFREE char *text = vt_calloc(1, FILE_MAX + 1);
    json_error_t error;
    json_t *root = NULL;
    size_t len;

    if (!stream || !text) {
        vt_fail(why, VT_EUSAGE, "profile %s: %s", path, strerror(stream ? ENOMEM : errno));
    } else {
        len = fread(text, 1, FILE_MAX + 1, stream);
        if (ferror(stream) || len > FILE_MAX)
            vt_fail(why, VT_EUSAGE, "profile %s: %s", path,
                    ferror(stream) ? "cannot be read" : "is larger than 64 KiB");
        else if (!(root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error)))
            vt_fail(why, VT_EUSAGE, "profile %s, line %d: %s", path, error.line, error.text);
    }
    if (stream)
        fclose(stream);
    return root;
}

static int add(struct profile_file *file, const char *key, const json_t *value, struct vt_why *why)
{
    Vtpm__Limit *limit = &file->rows[file->count];
    bool is_name = strcmp(key, "name") == 0;
    char text[61] = "";

    if (is_name && json_is_string(value)) {
        if (json_string_length(value) >= sizeof file->name)
            return vt_fail(why, VT_EUSAGE, "profile: name is longer than %zu characters", sizeof file->name - 1);
        snprintf(file->name, sizeof file->name, "%s", json_string_value(value));
        return VT_OK;
    }
    if (file->count == VT_COUNT(file->rows))
        return vt_fail(why, VT_EUSAGE, "profile: more than %zu limits: %.40s is one too many", file->count, key);
    if (is_name || (!json_is_integer(value) && !json_is_boolean(value))) {
        (void)json_dumpb(value, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_COMPACT);
        return vt_fail(why, VT_EUSAGE, "profile: %.40s is %s: it must be %s", key, text,
                       is_name ? "a string" : "a whole number (maintenance: true or false)");
    }
    vtpm__limit__init(limit);
    snprintf(file->keys[file->count], sizeof file->keys[0], "%s", key);
    limit->name = file->keys[file->count];
    limit->is_truth = json_is_boolean(value);
    limit->value = limit->is_truth ? json_is_true(value) : json_integer_value(value);
    file->limits[file->count++] = limit;
    return VT_OK;
}

int profile_file_read(struct profile_file *file, const char *path, struct vt_why *why)
{
    json_t *root = load(path, why), *value;
    const char *key;
    int err = VT_OK;

    memset(file, 0, sizeof *file);
    name_after(file, path);
    if (!root)
        return VT_EUSAGE;
    if (!json_is_object(root))
        err = vt_fail(why, VT_EUSAGE, "profile %s: it must be one object: {\"key_slots\": 20, ...}", path);
    else
        json_object_foreach (root, key, value)
            if (!err)
                err = add(file, key, value, why);
    if (!err && !file->count)
        err = vt_fail(why, VT_EUSAGE, "profile %s: it names no limit", path);
    json_decref(root);
    return err;
}
