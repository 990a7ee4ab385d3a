/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which vTPM devices a back end has, from xenstore's nodes: found by scan and watch, read afresh after every change, and
 * told. Bounded. No I/O of its own: xenstore is the shim's, by struct xenrecords_ops. One thread, which may wait for xenstore
 * as long as its operations do.
 */
#ifndef VTPM_PROTO_XENRECORDS_H
#define VTPM_PROTO_XENRECORDS_H

#include "proto/xenpaths.h"

/* Grants and event channels are limited, and only the toolstack makes devices: this bounds its mistakes. */
#define XENRECORDS_DOMAIN_MAX 8

struct xenrecords_ops {
    /* Xenstore is lost: what was read since is void. */
    bool (*is_lost)(void *ctx);
    xenpaths_read_fn read;
    /* Names in a directory that are numbers; 0 if there is none. */
    size_t (*list)(void *ctx, const char *path, uint32_t *numbers, size_t most);
    void (*watch)(void *ctx, const char *path, const char *token);
    void (*unwatch)(void *ctx, const char *path, const char *token);
    /* Only when xenstore says so for certain. */
    bool (*domain_gone)(void *ctx, uint32_t domid);
    void (*tell)(void *ctx, const struct xenstore_device *device);
};

struct records {
    const struct xenrecords_ops *ops;
    void *ctx;
    const char *base; /* xenpaths_base; borrowed */
    unsigned most;    /* devices */
    struct vt_list list;
    unsigned count;
    bool is_refused; /* a device over the limits was told to people */
};

/* Borrows all for life; base may be filled in until records_reached. */
void records_init(struct records *records, const struct xenrecords_ops *ops, void *ctx, const char *base, unsigned most);
void records_free(struct records *records);

/* A new connection: nothing is watched, everything is looked at. */
void records_reached(struct records *records);
/* Something has changed there: what is new becomes known, what is known is read by records_read. */
void records_look_at(struct records *records, uint32_t domid, uint32_t devid);
void records_look_at_domain(struct records *records, uint32_t domid);
void records_look_at_all(struct records *records);
/* Some domain has ended. */
void records_check_domains(struct records *records);
void records_wrote(struct records *records, uint32_t domid, uint32_t devid);
void records_forget(struct records *records, uint32_t domid, uint32_t devid);
/* Reads and tells all that has to be; stops when the connection is lost. True: something was read. */
bool records_read(struct records *records);
/* An event of a watch on `base` (XENPATHS_TOKEN_BACK), "@releaseDomain" or a front end. True: some domain has ended. */
bool records_event(struct records *records, const char *path, const char *token);

#endif
