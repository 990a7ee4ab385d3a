/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim_process.h"

extern char **environ;

void shim_spawn(struct shim *shim, const char *program, const char *const args[])
{
    /* Not fork: the test may have threads, and a sanitizer's locks are then held in the child for ever. */
    posix_spawn_file_actions_t actions;
    const char *argv[20] = {program};
    int from[2];

    *shim = (struct shim){.pid = 0};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, from[1], 1), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, from[1], 2), 0);
    assert_int_equal(posix_spawn(&shim->pid, program, &actions, NULL, (char *const *)(uintptr_t)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(from[1]);
    shim->err = from[0];
}

bool shim_says(struct shim *shim, const char *word)
{
    struct pollfd poller = {.fd = shim->err, .events = POLLIN};
    ssize_t n;

    while (!strstr(shim->text, word)) {
        if (poll(&poller, 1, 8000) <= 0)
            return false;
        n = read(shim->err, shim->text + shim->len, sizeof shim->text - 1 - shim->len);
        if (n <= 0)
            return false;
        shim->len += (size_t)n;
        shim->text[shim->len] = '\0';
    }
    return true;
}

int shim_wait(struct shim *shim)
{
    int status;

    (void)shim_says(shim, "\x01 nothing says this: read to the end");
    assert_int_equal(waitpid(shim->pid, &status, 0), shim->pid);
    close(shim->err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int shim_stop(struct shim *shim)
{
    kill(shim->pid, SIGTERM);
    return shim_wait(shim);
}

void shim_ready(struct shim *shim)
{
    const char *at;

    if (!shim_says(shim, "vtpm-shim: ready"))
        fail_msg("the shim said: %s", shim->text);
    while (!strchr(strstr(shim->text, "vtpm-shim: ready"), '\n'))
        assert_true(shim_says(shim, "\n"));
    at = strstr(shim->text, "ready (");
    if (at)
        sscanf(at, "ready (%63[^)])", shim->where);
}
