/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sandbox/misbehave.h"

#ifdef VTPM_TEST_HOOKS
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/crypto/crypto.h"
#include "server/sandbox/sandbox.h"

static int say(int fd, const char *bytes, size_t len)
{
    return write(fd, bytes, len) == (ssize_t)len ? VT_EFAIL : VT_EIO;
}

static int allocate(void)
{
    volatile char *block;

    for (;;) {
        block = malloc(1 << 20);
        if (!block)
            return VT_ENOMEM;
        for (size_t i = 0; i < 1 << 20; i += 4096)
            block[i] = 1;
    }
}

static int ask_keys(int fd)
{
    uint8_t told[4096];

    for (;;)
        if (say(fd, "\x00\x00\x00\x09\x34\x00\x00\x04\x00\x00\x01\x00\x01", 13) != VT_EFAIL || read(fd, told, sizeof told) <= 0)
            return VT_EIO;
}

static int take_and_leave(int fd)
{
    (void)say(fd, "\x00\x00\x00\x09\x34\x00\x00\x08\x00\x00\x01\x00\x01", 13);
    _exit(7);
}

static int crash(void)
{
    volatile uintptr_t address = 8;

    *(volatile char *)address = 1;
    return VT_EFAIL;
}

static int spin(void)
{
    volatile bool forever = true;

    while (forever)
        ;
    return VT_EFAIL;
}

static int crypto(void)
{
    static const uint8_t seed[CR_DRBG_SEED] = {3};
    struct cr_drbg drbg;
    CR_SECRET_RSA key;
    int err = cr_self_test(NULL);

    cr_drbg_init(&drbg, seed, NULL, 0);
    if (!err)
        err = cr_rsa_generate(&key, 2048, 65537, &drbg);
    return err ? err : VT_EFAIL;
}

/* The bare calls: the C library may take another one than its name says. */
int sandbox_misbehave(int fd, uint8_t what)
{
    switch (what) {
    case DEED_OPEN:
        return syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR) < 0 ? VT_EIO : VT_EFAIL;
    case DEED_SOCKET:
        return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) < 0 ? VT_EIO : VT_EFAIL;
    case DEED_FORK:
        return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) < 0 ? VT_EIO : VT_EFAIL;
    case DEED_MAP_CODE:
        return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                   ? VT_EIO
                   : VT_EFAIL;
    case DEED_ALLOCATE:
        return allocate();
    case DEED_SPIN:
        return spin();
    case DEED_ANSWER_AND_SPIN:
        return say(fd, "\x00\x00\x00\x01\x40", 5) == VT_EFAIL ? spin() : VT_EIO;
    case DEED_CRASH:
        return crash();
    case DEED_ABORT:
        abort();
    case DEED_EXIT:
        _exit(7);
    case DEED_LONG_FRAME:
        return say(fd, "\x00\x08\x00\x01\x40", 5);
    case DEED_TWO_REPLIES:
        return say(fd, "\x00\x00\x00\x01\x40\x00\x00\x00\x01\x40", 10);
    case DEED_EMPTY_FRAME:
        return say(fd, "\x00\x00\x00\x00", 4);
    case DEED_KILL:
        return kill(getpid(), 0) ? VT_EIO : VT_EFAIL;
    case DEED_CONNECT:
        return syscall(SYS_connect, fd, "", 1) < 0 ? VT_EIO : VT_EFAIL;
    case DEED_EXECUTE:
        return syscall(SYS_execve, "/bin/true", NULL, NULL) < 0 ? VT_EIO : VT_EFAIL;
    case DEED_CRYPTO:
        return crypto();
    case DEED_ASK_KEYS:
        return ask_keys(fd);
    case DEED_ASK_NO_KEY:
        return say(fd, "\x00\x00\x00\x09\x34\x00\x00\x08\x01\x00\x00\x00\x02", 13) == VT_EFAIL ? spin() : VT_EIO;
    case DEED_ASK_SHORT:
        return say(fd, "\x00\x00\x00\x05\x34\x00\x00\x08\x00", 9) == VT_EFAIL ? spin() : VT_EIO;
    case DEED_TAKE_AND_LEAVE:
        return take_and_leave(fd);
    default:
        return VT_EUSAGE;
    }
}
#endif
