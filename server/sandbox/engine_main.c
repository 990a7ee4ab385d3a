/* SPDX-License-Identifier: Apache-2.0 */
/* vtpm-engine: started by vtpm-server, never by hand. */
#include <stdio.h>
#include <sys/socket.h>

#include "server/crypto/crypto.h"
#include "server/sandbox/sandbox.h"

static const char usage[] =
    "usage: vtpm-engine --zygote | --help | --version\n"
    "Runs the TPM instances of vtpm-server, each in a sandbox of its own.\n"
    "It is started by vtpm-server (see its --engine option), not by hand.\n";

static bool is_control_socket(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;

    return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

static int version(void)
{
    if (cr_init())
        return 1;
    printf("vtpm-engine %s (%s)\n", VTPM_VERSION, cr_backend());
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--help"))
        return fputs(usage, stdout) < 0;
    if (argc == 2 && !strcmp(argv[1], "--version"))
        return version();
    if (argc == 2 && !strcmp(argv[1], "--zygote") && is_control_socket(SANDBOX_CONTROL_FD))
        return sandbox_zygote(SANDBOX_CONTROL_FD);
    fputs("vtpm-engine: this program is started by vtpm-server\n", stderr);
    if (argc != 2 || strcmp(argv[1], "--zygote"))
        fputs(usage, stderr);
    return 2;
}
