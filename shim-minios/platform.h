/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that the stub domain wants of what is below it. Two implementations: platform_minios.c on Mini-OS, and
 * tests/lib/minios_platform.c on Xen's libraries for Linux, real ones or the tests' own in memory.
 *
 * One thread calls; nothing here calls back. Errors are of enum vt_err.
 */
#ifndef VTPM_MINIOS_PLATFORM_H
#define VTPM_MINIOS_PLATFORM_H

#include "server/base/err.h"
#include "server/base/log.h"

/* ---- Xenstore: every call may wait for it, and for nothing else ---- */

/* A node's text, cut to size - 1 bytes. VT_ENOTFOUND: it is not there, or not for us to see; VT_EIO. */
int platform_read(const char *path, char *text, size_t size) VT_USE_RESULT;
/* Names in a directory that are numbers, at most `most`; 0 if there is none. */
size_t platform_list(const char *path, uint32_t *numbers, size_t most);

struct platform_node {
    const char *path;
    const char *value;
};
/* All of them or none, and only while `guard` exists: VT_ENOTFOUND. VT_EIO; VT_EAGAIN: others write there all the time. */
int platform_write(const char *guard, const struct platform_node *nodes, size_t count) VT_USE_RESULT;
/* The node and everything below it. */
void platform_remove(const char *path);
/* VT_EPERM: this domain is not told of that. */
int platform_watch(const char *path, const char *token) VT_USE_RESULT;
void platform_unwatch(const char *path, const char *token);
/* The next event of a watch, cut to the sizes; false: there is none now. */
bool platform_event(char *path, size_t path_size, char *token, size_t token_size) VT_USE_RESULT;
/* False also when it cannot be told. */
bool platform_domain_gone(uint32_t domid) VT_USE_RESULT;

/* ---- Grants and event channels ---- */

/* One page of another domain, to read and write; NULL: it cannot be mapped. */
void *platform_map(uint32_t domid, uint32_t ref) VT_USE_RESULT;
void platform_unmap(void *page);
/* *port: what the other calls know it by. VT_EIO. */
int platform_bind(uint32_t domid, uint32_t remote_port, uint32_t *port) VT_USE_RESULT;
void platform_unbind(uint32_t port);
void platform_notify(uint32_t port);
/* An event has come since it was asked last. */
bool platform_pending(uint32_t port) VT_USE_RESULT;

/* ---- Time, randomness, console ---- */

/* Does not jump. */
uint64_t platform_now_ms(void);
/*
 * Returns at until_ms, or when an event has come that platform_pending or platform_event tells of, or for no reason. To be
 * called in each turn, with 0 if there is more to do at once: what is below us may have no other time of its own.
 */
void platform_wait(uint64_t until_ms);
/* The toolstack wants this domain to end. */
bool platform_stopping(void) VT_USE_RESULT;
/* From the processor. VT_ENOTSUP: it has none; VT_EFAIL: it gives none now. */
int platform_entropy(uint8_t *out, size_t len) VT_USE_RESULT;
/* Whatever differs from run to run, to mix in; promises nothing. */
uint64_t platform_jitter(void);
void platform_log(enum vt_log_level level, const char *line);

/* ---- The ramdisk ---- */

/* What the toolstack loaded with the image; NULL: nothing. May be written to: the caller wipes it. */
char *platform_ramdisk(size_t *len);

#endif
