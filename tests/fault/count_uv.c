/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv calls abort(3) itself when its table of watchers cannot grow (its only reallocation): that one is spared here;
 * test_process.c shows that the server's log says so first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <uv.h>

#include "tests/fault/countdown.h"

static void *u_malloc(size_t size)
{
    return count_strikes(FAULT_UV) ? NULL : malloc(size);
}

static void *u_calloc(size_t count, size_t size)
{
    return count_strikes(FAULT_UV) ? NULL : calloc(count, size);
}

void count_hook_uv(void)
{
    assert_int_equal(uv_replace_allocator(u_malloc, realloc, u_calloc, free), 0);
}
