/* SPDX-License-Identifier: Apache-2.0 */
/* The INI file: sections in brackets, `key = value`, comments in lines of their own that start with # or ;.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "server/base/alloc.h"
#include "server/net/config.h"

#define FILE_MAX (256u * 1024)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text)
{
    size_t len;

    while (is_blank(*text))
        text++;
    len = strlen(text);
    while (len && is_blank(text[len - 1]))
        text[--len] = '\0';
    return text;
}

static int read_section(char *line, bool *in_server, struct vt_why *why)
{
    size_t len = strlen(line);

    if (line[len - 1] != ']')
        return vt_fail(why, VT_EUSAGE, "'%.60s': a section ends with ]", line);
    line[len - 1] = '\0';
    if (strcmp(trim(line + 1), "server"))
        return vt_fail(why, VT_EUSAGE, "unknown section [%.60s]: the only one is [server]", trim(line + 1));
    *in_server = true;
    return VT_OK;
}

static int read_line(struct config *config, char *line, unsigned number, bool *in_server, struct vt_why *why)
{
    char *equals;

    line = trim(line);
    if (!*line || *line == '#' || *line == ';')
        return VT_OK;
    if (*line == '[')
        return read_section(line, in_server, why);
    equals = strchr(line, '=');
    if (!equals || equals == line)
        return vt_fail(why, VT_EUSAGE, "'%.60s' is not `key = value`", line);
    *equals = '\0';
    if (!*in_server)
        return vt_fail(why, VT_EUSAGE, "'%.60s' stands before the section [server]", trim(line));
    return config_set_key(config, trim(line), trim(equals + 1), number, why);
}

static int read_lines(struct config *config, const char *path, char *text, size_t len, struct vt_why *why)
{
    bool in_server = false;
    unsigned number = 1;

    for (char *line = text; line < text + len; number++) {
        struct vt_why about = {0};
        char *end = memchr(line, '\n', (size_t)(text + len - line));
        int err;

        if (!end)
            end = text + len;
        *end = '\0';
        if (strlen(line) != (size_t)(end - line))
            err = vt_fail(&about, VT_EUSAGE, "a NUL byte: this is not a text file");
        else
            err = read_line(config, line, number, &in_server, &about);
        if (err)
            return vt_fail(why, err, "%s:%u: %s", path, number, about.text);
        line = end + 1;
    }
    return VT_OK;
}

/* Up to FILE_MAX bytes; devices such as /dev/null are as good as files. */
static int read_all(int fd, const char *path, char *text, size_t *len, struct vt_why *why)
{
    *len = 0;
    for (;;) {
        ssize_t n = read(fd, text + *len, FILE_MAX + 1 - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail(why, VT_EUSAGE, "%s: cannot be read: %s", path, strerror(errno));
        if (!n)
            return VT_OK;
        *len += (size_t)n;
        if (*len > FILE_MAX)
            return vt_fail(why, VT_EUSAGE, "%s: longer than %u bytes: not a configuration file", path,
                           FILE_MAX);
    }
}

int config_read_file(struct config *config, const char *path, struct vt_why *why)
{
    VT_AUTOFREE char *text = vt_calloc(1, FILE_MAX + 2);
    size_t len;
    int fd, err;

    if (!text)
        return vt_fail(why, VT_ENOMEM, "out of memory");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return vt_fail(why, errno == ENOENT ? VT_ENOTFOUND : VT_EUSAGE, "%s: cannot be opened: %s", path,
                       strerror(errno));
    err = read_all(fd, path, text, &len, why);
    close(fd);
    return err ? err : read_lines(config, path, text, len, why);
}
