/* SPDX-License-Identifier: Apache-2.0 */
/* TPM 1.2: bytes to a device file or a stream socket, and back. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hwtpm/tpm12.h"

#define HEADER 10

/* ---- Open ---- */

static int open_unix(const char *where, const char *path, int *fd, struct vt_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        return vt_fail(why, VT_EUSAGE, "device=%s: the path of a socket has at most %zu bytes", where,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path));
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || connect(*fd, (const struct sockaddr *)&address, sizeof address))
        return hwtpm_no_device(where, errno, why);
    return VT_OK;
}

/* "HOST:PORT", "[::1]:PORT" */
static bool split_address(const char *text, char host[256], char port[16])
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;

    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (!len || len >= 256 || strlen(colon + 1) >= 16 || !colon[1])
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

static int open_tcp(const char *where, const char *text, int *fd, struct vt_why *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *at;
    char host[256], port[16];
    int rc, error = ECONNREFUSED;

    if (!split_address(text, host, port))
        return vt_fail(why, VT_EUSAGE, "device=%s: must be tcp:HOST:PORT", where);
    rc = getaddrinfo(host, port, &hints, &list);
    if (rc)
        return vt_fail(why, VT_ENOTFOUND, "device=%s: %s", where, gai_strerror(rc));
    for (at = list; at; at = at->ai_next) {
        *fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
        if (*fd >= 0 && connect(*fd, at->ai_addr, at->ai_addrlen) == 0)
            break;
        error = errno;
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
    freeaddrinfo(list);
    return at ? VT_OK : hwtpm_no_device(where, error, why);
}

int tpm12_connect(const char *where, int *fd, struct vt_why *why)
{
    struct stat st;

    *fd = -1;
    if (strncmp(where, "unix:", 5) == 0)
        return open_unix(where, where + 5, fd, why);
    if (strncmp(where, "tcp:", 4) == 0)
        return open_tcp(where, where + 4, fd, why);
    /* Nothing else is opened for writing. */
    if (stat(where, &st) == 0 && !S_ISCHR(st.st_mode))
        return vt_fail(why, VT_EUSAGE, "%s: not a device; a socket is unix:PATH", where);
    *fd = open(where, O_RDWR | O_CLOEXEC);
    return *fd < 0 ? hwtpm_no_device(where, errno, why) : VT_OK;
}

/* ---- One exchange ---- */

static int broke(const struct tpm12 *impl, struct vt_why *why)
{
    return vt_fail(why, VT_EIO, "the host TPM (%s): the connection to it broke: %s", impl->where, strerror(errno));
}

/* A device takes a command in one write and gives the response in one read; a socket in any pieces. */
static int send_all(const struct tpm12 *impl, const uint8_t *bytes, size_t len, struct vt_why *why)
{
    while (len) {
        ssize_t n = write(impl->fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return broke(impl, why);
        bytes += n;
        len -= (size_t)n;
    }
    return VT_OK;
}

static uint32_t size_told(const uint8_t *response)
{
    struct rd r = rd_from(response, HEADER);

    rd_get16(&r);
    return rd_get32(&r);
}

int tpm12_exchange(const struct tpm12 *impl, const uint8_t *command, size_t command_len, uint8_t *response, size_t *len,
                   struct vt_why *why)
{
    size_t have = 0, room = *len;
    int err = send_all(impl, command, command_len, why);

    while (!err && (have < HEADER || have < size_told(response))) {
        ssize_t n = have < room ? read(impl->fd, response + have, room - have) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EPIPE;
        if (n <= 0)
            return broke(impl, why);
        have += (size_t)n;
        if (have >= HEADER && (size_told(response) < HEADER || size_told(response) > room))
            return vt_fail(why, VT_EPROTO, "the host TPM (%s) answers what is no TPM 1.2 response: a TPM 2.0? Use tpm2:...",
                           impl->where);
    }
    if (!err && have != size_told(response))
        return vt_fail(why, VT_EPROTO, "the host TPM (%s) answers more than it says", impl->where);
    *len = have;
    return err;
}
