/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices that the xenstore thread knows, with their watches, and which of them have to be read again. One guest's
 * many changes are one reading. That thread only.
 */
#ifndef VTPM_SHIM_XENRECORDS_H
#define VTPM_SHIM_XENRECORDS_H

#include "server/base/list.h"
#include "shim-linux/xennodes.h"

struct records {
    struct nodes *nodes;
    void (*tell)(void *ctx, const struct xenstore_device *device);
    void *ctx;
    struct vt_list list;
    unsigned count;
    bool is_refused; /* a device over the limits was told to people */
};

/* Borrows nodes for life. */
void records_init(struct records *records, struct nodes *nodes,
                  void (*tell)(void *ctx, const struct xenstore_device *device), void *ctx);
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
/* Reads and tells all that has to be; stops when the connection is lost. */
void records_read(struct records *records);

#endif
