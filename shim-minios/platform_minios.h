/* SPDX-License-Identifier: Apache-2.0 */
/* Between the three objects that the image is made of: app_main.c, platform_minios.c, and everything of ours. */
#ifndef VTPM_MINIOS_PLATFORM_MINIOS_H
#define VTPM_MINIOS_PLATFORM_MINIOS_H

/* The image's one thread of ours: entry.c. */
void vtpm_stubdom_thread(void *unused);
/* The toolstack has written control/shutdown. Any thread. */
void platform_shutdown(void);
/* Ends the domain. */
void platform_end(int code) __attribute__((noreturn));

#endif
