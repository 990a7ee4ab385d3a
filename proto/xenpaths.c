/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/xenpaths.h"

#include <inttypes.h>
#include <stdio.h>

#define TEXT_MAX 256

/* ---- Paths ---- */

void xenpaths_base(char base[XENPATHS_MAX], uint32_t self)
{
    snprintf(base, XENPATHS_MAX, "/local/domain/%" PRIu32 "/backend/vtpm", self);
}

void xenpaths_back(char back[XENPATHS_MAX], const char *base, uint32_t domid, uint32_t devid)
{
    snprintf(back, XENPATHS_MAX, "%.100s/%" PRIu32 "/%" PRIu32, base, domid, devid);
}

void xenpaths_front_watch(char path[XENPATHS_NODE_MAX], char token[XENPATHS_TOKEN], const char *front, uint32_t domid,
                          uint32_t devid)
{
    snprintf(path, XENPATHS_NODE_MAX, "%.150s/state", front);
    snprintf(token, XENPATHS_TOKEN, "%" PRIu32 "/%" PRIu32, domid, devid);
}

bool xenpaths_is_front(const char *front, uint32_t domid)
{
    char home[64];

    snprintf(home, sizeof home, "/local/domain/%" PRIu32 "/", domid);
    return strncmp(front, home, strlen(home)) == 0 && strlen(front) < XENPATHS_MAX;
}

/* ---- Events ---- */

/* "5/0/state": the domain's number, and the device's if it is there. */
static enum xenpaths_about parse_numbers(const char *rest, uint32_t *domid, uint32_t *devid)
{
    uint32_t *const to[] = {domid, devid};
    char word[12];
    uint64_t number;

    for (size_t i = 0; i < VT_COUNT(to); i++) {
        size_t len = strcspn(rest, "/");

        if (!len && i)
            return XENPATHS_DOMAIN;
        if (!len || len >= sizeof word)
            return XENPATHS_NOTHING;
        memcpy(word, rest, len);
        word[len] = '\0';
        if (!vt_parse_u64(&number, word, UINT32_MAX))
            return XENPATHS_NOTHING;
        *to[i] = (uint32_t)number;
        rest += len + (rest[len] == '/');
    }
    return XENPATHS_DEVICE;
}

enum xenpaths_about xenpaths_about(const char *base, const char *path, const char *token, uint32_t *domid, uint32_t *devid)
{
    size_t len = strlen(base);

    if (strcmp(token, XENPATHS_TOKEN_RELEASE) == 0)
        return XENPATHS_RELEASE;
    if (strcmp(token, XENPATHS_TOKEN_BACK) != 0)
        return parse_numbers(token, domid, devid);
    if (strncmp(path, base, len) == 0 && path[len] == '/')
        return parse_numbers(path + len + 1, domid, devid);
    return XENPATHS_ALL;
}

/* ---- Nodes ---- */

struct reader {
    xenpaths_read_fn read;
    void *ctx;
    char text[TEXT_MAX];
};

static const char *read_node(struct reader *reader, const char *dir, const char *name)
{
    char path[XENPATHS_NODE_MAX];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return reader->read(reader->ctx, path, reader->text, sizeof reader->text) ? reader->text : NULL;
}

static bool read_number(struct reader *reader, const char *dir, const char *name, uint32_t max, uint32_t *number)
{
    const char *text = read_node(reader, dir, name);
    uint64_t value = 0;
    bool is_number = text && vt_parse_u64(&value, text, max);

    *number = (uint32_t)value;
    return is_number;
}

/* The toolstack's, but what one may call a domain is no word of ours. */
static void read_name(struct reader *reader, uint32_t domid, char name[XENSTORE_NAME])
{
    char home[64];
    const char *text;

    snprintf(home, sizeof home, "/local/domain/%" PRIu32, domid);
    text = read_node(reader, home, "name");
    snprintf(name, XENSTORE_NAME, "%.*s", XENSTORE_NAME - 1, text ? text : "");
    for (char *at = name; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

void xenpaths_device(struct xenstore_device *device, xenpaths_read_fn read, void *ctx, const char *base, const char *front,
                     uint32_t domid, uint32_t devid)
{
    struct reader reader = {.read = read, .ctx = ctx};
    char back[XENPATHS_MAX];
    const char *text;
    bool has_ref;

    *device = (struct xenstore_device){.domid = domid, .devid = devid};
    xenpaths_back(back, base, domid, devid);
    device->back = xenback_state(read_node(&reader, back, "state"));
    text = read_node(&reader, back, "online");
    device->online = !text || strcmp(text, "0") != 0;
    text = read_node(&reader, back, "uuid");
    device->has_uuid = text && vt_uuid_parse(&device->uuid, text);
    read_name(&reader, domid, device->name);
    device->front = xenback_state(read_node(&reader, front, "state"));
    has_ref = read_number(&reader, front, "ring-ref", UINT32_MAX, &device->ring_ref);
    device->has_ring = read_number(&reader, front, "event-channel", XENPATHS_PORT_MAX, &device->event_channel) && has_ref;
}
