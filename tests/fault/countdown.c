/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/countdown.h"

#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "server/base/alloc.h"

#define RUNS_MAX 100000
#define LEAK_EVERY 32 /* a look takes longer than most runs */

/* Shared with the processes that a scenario forks: the count goes on in them. */
static struct {
    atomic_long left; /* negative: nothing is armed */
    atomic_bool struck;
} *shared;

static enum fault kind;
static long nth;
static bool must_disarm;
static bool is_alloc_hooked;
static _Thread_local bool is_outside[FAULT_COUNT];

__attribute__((constructor)) static void share_count(void)
{
    void *at = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        abort();
    shared = at;
    atomic_store(&shared->left, -1);
}

static bool is_armed(void)
{
    return shared && atomic_load(&shared->left) >= 0;
}

bool count_strikes(enum fault fault)
{
    if (!is_armed() || fault != kind || is_outside[fault] || atomic_fetch_sub(&shared->left, 1) != 0)
        return false;
    atomic_store(&shared->struck, true);
    return true;
}

void count_here(enum fault fault, bool counts)
{
    is_outside[fault] = !counts;
}

void count_begin(void)
{
    atomic_store(&shared->struck, false);
    must_disarm = true;
    if (kind == FAULT_ALLOC && !is_alloc_hooked)
        (void)vt_alloc_fail_after(nth);
    else
        atomic_store(&shared->left, nth);
}

bool count_end(void)
{
    must_disarm = false;
    if (kind == FAULT_ALLOC && !is_alloc_hooked && vt_alloc_fail_after(-1) > nth)
        atomic_store(&shared->struck, true);
    atomic_store(&shared->left, -1);
    return atomic_load(&shared->struck);
}

void count_hook_alloc(void)
{
    is_alloc_hooked = true;
}

long count_nth(void)
{
    return nth;
}

/* ---- Leaks ---- */

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void look_for_leaks(const char *name)
{
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
        fail_msg("%s: a leak in the last runs up to that in which call %ld failed", name, nth);
}

/* ---- Runs ---- */

unsigned count_down_by(const char *name, enum fault fault, long stride, void (*scenario)(void *arg), void *arg)
{
    unsigned faults = 0;

    kind = fault;
    for (nth = 0; nth < RUNS_MAX; nth += stride) {
        bool failed;

        scenario(arg);
        if (must_disarm)
            fail_msg("%s: the scenario has no end", name);
        failed = atomic_exchange(&shared->struck, false);
        if (!failed)
            break;
        if (++faults % LEAK_EVERY == 0)
            look_for_leaks(name);
    }
    look_for_leaks(name);
    assert_true(nth < RUNS_MAX);
    print_message("%s: %u faults\n", name, faults);
    return faults;
}

unsigned count_down(const char *name, enum fault fault, void (*scenario)(void *arg), void *arg)
{
    return count_down_by(name, fault, 1, scenario, arg);
}

/* ---- mbedTLS ---- */

#define RANGES_MAX 8

static struct {
    uintptr_t from, to;
} ranges[RANGES_MAX];
static unsigned range_count;

static int on_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    if (!strstr(info->dlpi_name, "libmbed"))
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum && range_count < RANGES_MAX; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            ranges[range_count].from = info->dlpi_addr + part->p_vaddr;
            ranges[range_count++].to = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        }
    }
    return 0;
}

__attribute__((constructor)) static void find_libraries(void)
{
    dl_iterate_phdr(on_library, NULL);
}

static bool is_mbedtls(const void *caller)
{
    for (unsigned i = 0; i < range_count; i++) {
        if ((uintptr_t)caller >= ranges[i].from && (uintptr_t)caller < ranges[i].to)
            return true;
    }
    return false;
}

/* The sanitizer's, or else the C library's own. */
void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
void *__libc_calloc(size_t count, size_t size);
void *calloc(size_t count, size_t size);

void *calloc(size_t count, size_t size)
{
    if (is_armed() && is_mbedtls(__builtin_return_address(0)) && count_strikes(FAULT_MBEDTLS))
        return NULL;
    return __interceptor_calloc ? __interceptor_calloc(count, size) : __libc_calloc(count, size);
}
