/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled by Mini-OS's own makefile: what it calls when it has started, and when the domain is to end. */
#include <mini-os/os.h>
#include <mini-os/sched.h>

void vtpm_stubdom_thread(void *unused);
void platform_shutdown(void);
int app_main(void *unused);
void app_shutdown(unsigned reason);

/* Waiting here would be a fault: there is no thread yet. */
int app_main(void *unused)
{
    create_thread("vtpm", vtpm_stubdom_thread, NULL);
    return 0;
}

void app_shutdown(unsigned reason)
{
    platform_shutdown();
}
