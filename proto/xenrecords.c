/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/xenrecords.h"

#include <inttypes.h>
#include <stdio.h>

#include "server/base/alloc.h"
#include "server/base/log.h"

/* What the thread knows of a device. */
struct record {
    struct vt_list node;
    uint32_t domid, devid;
    uint64_t writes;
    char front[XENPATHS_MAX];
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

static bool is_lost(const struct records *records)
{
    return records->ops->is_lost(records->ctx);
}

static void watch(struct records *records, struct record *record, bool on)
{
    char path[XENPATHS_NODE_MAX], token[XENPATHS_TOKEN];

    if (record->is_watched == on)
        return;
    xenpaths_front_watch(path, token, record->front, record->domid, record->devid);
    if (on)
        records->ops->watch(records->ctx, path, token);
    else
        records->ops->unwatch(records->ctx, path, token);
    record->is_watched = on;
}

/* VT_ENOTFOUND: no such device; VT_EUSAGE: it is not of this domain. */
static int read_front(struct records *records, uint32_t domid, uint32_t devid, char front[XENPATHS_MAX])
{
    char back[XENPATHS_MAX], path[XENPATHS_NODE_MAX], text[XENPATHS_MAX + 1];

    xenpaths_back(back, records->base, domid, devid);
    snprintf(path, sizeof path, "%s/frontend", back);
    if (!records->ops->read(records->ctx, path, text, sizeof text))
        return VT_ENOTFOUND;
    if (!xenpaths_is_front(text, domid))
        return VT_EUSAGE;
    memcpy(front, text, strlen(text) + 1);
    return VT_OK;
}

static void drop_record(struct records *records, struct record *record)
{
    if (!is_lost(records))
        watch(records, record, false);
    vt_list_remove(&record->node);
    records->count--;
    vt_free(record);
}

static bool has_room(struct records *records, uint32_t domid, uint32_t devid)
{
    unsigned of_domain = 0;

    VT_LIST_EACH(&records->list, node)
        of_domain += VT_LIST_ENTRY(node, struct record, node)->domid == domid;
    if (records->count < records->most && of_domain < XENRECORDS_DOMAIN_MAX)
        return true;
    if (!records->is_refused)
        vt_error("xen: domain %" PRIu32 " device %" PRIu32 " is not served: at most %u devices, %d of one domain", domid,
                 devid, records->most, XENRECORDS_DOMAIN_MAX);
    records->is_refused = true;
    return false;
}

/* One that is there and not yet known. */
static void add_record(struct records *records, uint32_t domid, uint32_t devid)
{
    char front[XENPATHS_MAX];
    struct record *record;
    int err = read_front(records, domid, devid, front);

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
    record->domain_gone = records->ops->domain_gone(records->ctx, domid);
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
    uint32_t devids[XENRECORDS_DOMAIN_MAX + 1];
    char dir[XENPATHS_MAX];
    size_t count;

    snprintf(dir, sizeof dir, "%.100s/%" PRIu32, records->base, domid);
    count = records->ops->list(records->ctx, dir, devids, VT_COUNT(devids));
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
    uint32_t *domids = vt_calloc(records->most, sizeof *domids);
    size_t count = domids ? records->ops->list(records->ctx, records->base, domids, records->most) : 0;

    for (size_t i = 0; i < count; i++)
        records_look_at_domain(records, domids[i]);
    vt_free(domids);
    VT_LIST_EACH(&records->list, node)
        VT_LIST_ENTRY(node, struct record, node)->is_dirty = true;
}

/* Made anew, a device may have its front end elsewhere. */
static void follow_front(struct records *records, struct record *record)
{
    char front[XENPATHS_MAX];

    if (read_front(records, record->domid, record->devid, front) || strcmp(front, record->front) == 0)
        return;
    watch(records, record, false);
    memcpy(record->front, front, sizeof front);
}

static void read_record(struct records *records, struct record *record)
{
    struct xenstore_device device;

    follow_front(records, record);
    /* The watch first: what changes after the reading is told. */
    watch(records, record, true);
    record->is_dirty = false;
    xenpaths_device(&device, records->ops->read, records->ctx, records->base, record->front, record->domid, record->devid);
    if (is_lost(records)) {
        record->is_dirty = true;
        return;
    }
    device.writes = record->writes;
    device.domain_gone = record->domain_gone;
    records->ops->tell(records->ctx, &device);
}

void records_check_domains(struct records *records)
{
    VT_LIST_EACH(&records->list, node) {
        struct record *record = VT_LIST_ENTRY(node, struct record, node);
        if (record->domain_gone || !records->ops->domain_gone(records->ctx, record->domid))
            continue;
        record->domain_gone = record->is_dirty = true;
    }
}

bool records_read(struct records *records)
{
    bool was_dirty = false;

    VT_LIST_EACH(&records->list, node) {
        struct record *record = VT_LIST_ENTRY(node, struct record, node);
        if (!record->is_dirty || is_lost(records))
            continue;
        was_dirty = true;
        read_record(records, record);
    }
    return was_dirty;
}

bool records_event(struct records *records, const char *path, const char *token)
{
    uint32_t domid = 0, devid = 0;
    enum xenpaths_about about = xenpaths_about(records->base, path, token, &domid, &devid);

    if (about == XENPATHS_ALL)
        records_look_at_all(records);
    else if (about == XENPATHS_DOMAIN)
        records_look_at_domain(records, domid);
    else if (about == XENPATHS_DEVICE)
        records_look_at(records, domid, devid);
    return about == XENPATHS_RELEASE;
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

void records_init(struct records *records, const struct xenrecords_ops *ops, void *ctx, const char *base, unsigned most)
{
    *records = (struct records){.ops = ops, .ctx = ctx, .base = base, .most = most};
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
