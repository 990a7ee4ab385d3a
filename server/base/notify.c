/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/text.h"

bool vt_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    ssize_t sent;
    int fd;

    if (!len || len >= sizeof addr.sun_path || (path[0] != '/' && path[0] != '@'))
        return false;
    memcpy(addr.sun_path, path, len);
    /* '@' stands for the NUL of an abstract name. */
    if (path[0] == '@')
        addr.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&addr,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
    return sent == (ssize_t)strlen(state);
}

uint64_t vt_watchdog_ms(void)
{
    const char *usec_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    uint64_t usec, pid;

    if (!usec_text || !vt_parse_u64(&usec, usec_text, UINT64_MAX) || !usec)
        return 0;
    /* Inherited from a service that started us: it is not us who is waited for. */
    if (pid_text && (!vt_parse_u64(&pid, pid_text, INT32_MAX) || pid != (uint64_t)getpid()))
        return 0;
    return VT_MAX(usec / 2000, (uint64_t)1);
}
