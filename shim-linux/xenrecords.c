/* SPDX-License-Identifier: Apache-2.0 */
#include "shim-linux/xenrecords.h"

#include <inttypes.h>
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

/* What the thread knows of a device. */
struct record {
    struct vt_list node;
    uint32_t domid, devid;
    uint64_t writes;
    char front[NODES_PATH];
    bool is_watched;
    bool is_dirty;
    bool domain_gone;
};

static struct record *find_record(struct records *records, uint32_t domid, uint32_t devid)
{
    VT_LIST_EACH(&records->list, node) {
        struct record *record = VT_LIST_ENTRY(node, struct record, node);
        if (record->domid == domid && record->devid == devid)
            return record;
    }
    return NULL;
}

static void drop_record(struct records *records, struct record *record)
{
    if (record->is_watched && records->nodes->xs && !records->nodes->lost)
        nodes_unwatch(records->nodes, record->front, record->domid, record->devid);
    vt_list_remove(&record->node);
    records->count--;
    vt_free(record);
}

static bool has_room(struct records *records, uint32_t domid, uint32_t devid)
{
    unsigned of_domain = 0;

    VT_LIST_EACH(&records->list, node)
        of_domain += VT_LIST_ENTRY(node, struct record, node)->domid == domid;
    if (records->count < XENSTORE_DEVICES_MAX && of_domain < XENSTORE_DOMAIN_MAX)
        return true;
    if (!records->is_refused)
        vt_error("xen: domain %" PRIu32 " device %" PRIu32 " is not served: at most %d devices, %d of one domain", domid,
                 devid, XENSTORE_DEVICES_MAX, XENSTORE_DOMAIN_MAX);
    records->is_refused = true;
    return false;
}

/* One that is there and not yet known. */
static void add_record(struct records *records, uint32_t domid, uint32_t devid)
{
    char front[NODES_PATH];
    struct record *record;
    int err = nodes_front(records->nodes, domid, devid, front);

    if (err == VT_EUSAGE)
        vt_error("xen: domain %" PRIu32 " device %" PRIu32 " is not served: its node `frontend` is of another domain", domid,
                 devid);
    if (err || !has_room(records, domid, devid))
        return;
    record = VT_NEW(struct record);
    if (!record)
        return;
    *record = (struct record){.domid = domid, .devid = devid, .is_dirty = true};
    memcpy(record->front, front, sizeof front);
    record->domain_gone = nodes_domain_gone(records->nodes, domid);
    vt_list_add(&records->list, &record->node);
    records->count++;
}

void records_look_at(struct records *records, uint32_t domid, uint32_t devid)
{
    struct record *record = find_record(records, domid, devid);

    if (record)
        record->is_dirty = true;
    else
        add_record(records, domid, devid);
}

void records_look_at_domain(struct records *records, uint32_t domid)
{
    uint32_t devids[XENSTORE_DOMAIN_MAX + 1];
    char dir[NODES_PATH];
    size_t count;

    snprintf(dir, sizeof dir, "%.100s/%" PRIu32, records->nodes->base, domid);
    count = nodes_list(records->nodes, dir, devids, VT_COUNT(devids));
    for (size_t i = 0; i < count; i++)
        records_look_at(records, domid, devids[i]);
    /* Those that are not there any more have no name in the list. */
    VT_LIST_EACH(&records->list, node) {
        struct record *record = VT_LIST_ENTRY(node, struct record, node);
        record->is_dirty |= record->domid == domid;
    }
}

void records_look_at_all(struct records *records)
{
    uint32_t *domids = vt_calloc(XENSTORE_DEVICES_MAX, sizeof *domids);
    size_t count = domids ? nodes_list(records->nodes, records->nodes->base, domids, XENSTORE_DEVICES_MAX) : 0;

    for (size_t i = 0; i < count; i++)
        records_look_at_domain(records, domids[i]);
    vt_free(domids);
    VT_LIST_EACH(&records->list, node)
        VT_LIST_ENTRY(node, struct record, node)->is_dirty = true;
}

static void read_record(struct records *records, struct record *record)
{
    struct xenstore_device device;

    /* The watch first: what changes after the reading is told. */
    if (!record->is_watched)
        nodes_watch(records->nodes, record->front, record->domid, record->devid);
    record->is_watched = true;
    record->is_dirty = false;
    nodes_read(records->nodes, record->front, record->domid, record->devid, &device);
    if (records->nodes->lost) {
        record->is_dirty = true;
        return;
    }
    device.writes = record->writes;
    device.domain_gone = record->domain_gone;
    records->tell(records->ctx, &device);
}

void records_check_domains(struct records *records)
{
    VT_LIST_EACH(&records->list, node) {
        struct record *record = VT_LIST_ENTRY(node, struct record, node);
        if (record->domain_gone || !nodes_domain_gone(records->nodes, record->domid))
            continue;
        record->domain_gone = record->is_dirty = true;
    }
}

void records_read(struct records *records)
{
    VT_LIST_EACH(&records->list, node) {
        struct record *record = VT_LIST_ENTRY(node, struct record, node);
        if (record->is_dirty && !records->nodes->lost)
            read_record(records, record);
    }
}

void records_wrote(struct records *records, uint32_t domid, uint32_t devid)
{
    struct record *record = find_record(records, domid, devid);

    if (!record)
        return;
    record->writes++;
    record->is_dirty = true;
}

void records_forget(struct records *records, uint32_t domid, uint32_t devid)
{
    struct record *record = find_record(records, domid, devid);

    if (record)
        drop_record(records, record);
}

/* ---- Life ---- */

void records_init(struct records *records, struct nodes *nodes,
                  void (*tell)(void *ctx, const struct xenstore_device *device), void *ctx)
{
    *records = (struct records){.nodes = nodes, .tell = tell, .ctx = ctx};
    vt_list_init(&records->list);
}

void records_reached(struct records *records)
{
    VT_LIST_EACH(&records->list, node)
        VT_LIST_ENTRY(node, struct record, node)->is_watched = false;
    records_look_at_all(records);
}

void records_free(struct records *records)
{
    VT_LIST_EACH(&records->list, node) {
        vt_list_remove(node);
        vt_free(VT_LIST_ENTRY(node, struct record, node));
    }
}
