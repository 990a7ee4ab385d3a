/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "shim-minios/libc/heap.h"
#include "shim-minios/platform.h"
#include "shim-minios/platform_minios.h"
#include "shim-minios/stubdom.h"

/* The compiler compares with this (-mstack-protector-guard=global): a value that nobody can know, where there is RDRAND. */
extern uintptr_t __stack_chk_guard;
uintptr_t __stack_chk_guard = 0x595e9fbd94fda766;

_Noreturn void abort(void)
{
    platform_log(VT_LOG_ERROR, "stubdom: an assertion of our own does not hold");
    platform_end(1);
}

__attribute__((optimize("no-stack-protector"))) void vtpm_stubdom_thread(void *unused VT_UNUSED)
{
    struct heap_use use;
    uintptr_t guard;
    int code;

    if (platform_entropy((uint8_t *)&guard, sizeof guard) == VT_OK)
        __stack_chk_guard = guard;
    code = stubdom_run();
    use = heap_use();
    vt_notice("stubdom: heap: at most %zu of %u bytes", use.most, HEAP_BYTES);
    platform_end(code);
}
