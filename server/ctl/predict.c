/* SPDX-License-Identifier: Apache-2.0 */
/* Predictions of PCRs as people write them, made into what the server takes: lines without JSON and without files. */
#include "server/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/base/buf.h"
#include "server/base/text.h"
#include "server/crypto/crypto.h"

#define PREDICTION_MAX 4095 /* what the server takes */
#define LINE_MAX_LEN   4096

static int complain(const char *path, struct vt_why *why)
{
    return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : errno == EACCES ? VT_EPERM : VT_EFAIL,
                   "%s cannot be read: %s", path, strerror(errno));
}

/* ---- What will be measured ---- */

static int hash_fd(int fd, size_t digest_len, uint8_t *digest)
{
    struct stat st;
    void *at;

    if (fstat(fd, &st))
        return VT_EFAIL;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return VT_EFAIL;
    }
    at = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (at == MAP_FAILED)
        return VT_EFAIL;
    if (digest_len == CR_SHA1_LEN)
        cr_sha1(digest, at, (size_t)st.st_size);
    else
        cr_sha256(digest, at, (size_t)st.st_size);
    if (at)
        munmap(at, (size_t)st.st_size);
    return VT_OK;
}

static int hash_file(const char *path, size_t digest_len, uint8_t *digest, struct vt_why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), err;

    if (fd < 0)
        return complain(path, why);
    err = hash_fd(fd, digest_len, digest);
    if (err)
        err = complain(path, why);
    close(fd);
    return err;
}

/* ---- Lines ---- */

static int put_line(struct vt_buf *out, const char *line, struct vt_why *why)
{
    int err = vt_buf_put(out, line, strlen(line));

    if (!err)
        err = vt_buf_put(out, "\n", 1);
    return err ? vt_fail(why, err, "the prediction is longer than %d bytes", PREDICTION_MAX) : VT_OK;
}

/* "extend N FILE" becomes "extend N HEX"; other lines stay as they are: the server judges them. */
static int take_line(struct vt_buf *out, const char *line, size_t digest_len, struct vt_why *why)
{
    uint8_t digest[CR_SHA256_LEN];
    char pcr[8], path[LINE_MAX_LEN], hex[2 * CR_SHA256_LEN + 1], made[128];
    int err;

    if (line[strspn(line, " \t\r")] == '#' || sscanf(line, " extend %7s %4095s", pcr, path) != 2 ||
        vt_unhex(digest, digest_len, path))
        return put_line(out, line, why);
    err = hash_file(path, digest_len, digest, why);
    if (err)
        return err;
    vt_hex(hex, digest, digest_len);
    snprintf(made, sizeof made, "extend %s %s", pcr, hex);
    return put_line(out, made, why);
}

/* {"7": "HEX", ...} */
static int take_json(struct vt_buf *out, FILE *file, const char *path, struct vt_why *why)
{
    json_error_t error;
    json_t *object = json_loadf(file, JSON_REJECT_DUPLICATES, &error), *value;
    const char *name;
    int err = VT_OK;

    if (!json_is_object(object))
        err = vt_fail(why, VT_EUSAGE, "%s: not a JSON object of PCR numbers and hex values: line %d: %s", path,
                      error.line, error.text);
    json_object_foreach(object, name, value)
    {
        char line[128];

        if (!err && (!json_is_string(value) || (size_t)snprintf(line, sizeof line, "%.16s: %s", name,
                                                                json_string_value(value)) >= sizeof line))
            err = vt_fail(why, VT_EUSAGE, "%s: the value of '%.16s' is no hex text", path, name);
        if (!err)
            err = put_line(out, line, why);
    }
    json_decref(object);
    return err;
}

static int take_lines(struct vt_buf *out, FILE *file, size_t digest_len, struct vt_why *why)
{
    char line[LINE_MAX_LEN];
    int err = VT_OK;

    while (!err && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        err = take_line(out, line, digest_len, why);
    }
    return err;
}

int predict_read(const char *path, size_t digest_len, char **text, struct vt_why *why)
{
    FILE *file = fopen(path, "re");
    struct vt_buf out;
    int c, err;

    *text = NULL;
    if (!file)
        return complain(path, why);
    vt_buf_init(&out, PREDICTION_MAX);
    do
        c = getc(file);
    while (c == ' ' || c == '\n' || c == '\t' || c == '\r');
    if (c != EOF)
        ungetc(c, file);
    err = c == '{' ? take_json(&out, file, path, why) : take_lines(&out, file, digest_len, why);
    fclose(file);
    if (!err && !vt_buf_size(&out))
        err = vt_fail(why, VT_EUSAGE, "%s: it is empty", path);
    if (!err) {
        *text = vt_calloc(1, vt_buf_size(&out) + 1);
        if (*text)
            memcpy(*text, vt_buf_bytes(&out), vt_buf_size(&out));
        else
            err = vt_fail(why, VT_ENOMEM, "out of memory");
    }
    vt_buf_free(&out);
    return err;
}
