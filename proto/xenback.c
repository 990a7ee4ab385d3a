/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/xenback.h"

/* ---- What the nodes say, in few words ---- */

/* Of the back end's node: state and online, and whether the domain is still there. */
enum back {
    B_DEAD = 1,    /* the domain is gone, the node is not: the toolstack may wait for state 6 */
    B_DEAD_6 = 2,  /* the domain is gone; the node is too, or says 6 */
    B_GONE = 4,    /* the toolstack removed the device, the domain lives */
    B_LEAVE = 8,   /* state 5, online 0: detach */
    B_LEFT = 16,   /* state 6, online 0 */
    B_5 = 32,      /* online: by the toolstack, or by us */
    B_6 = 64,
    B_1 = 128,     /* new */
    B_2 = 256,
    B_4 = 512,
    B_REST = 1024, /* nothing that anybody should write here */
    B_UP = B_1 | B_2 | B_4 | B_REST,
    B_ALL = B_UP | B_5 | B_6
};

/* Of the front end's nodes. */
enum front {
    F_NONE = 1,
    F_INIT = 2,   /* 1 or 2: it starts */
    F_READY = 4,  /* 3, and the ring is named */
    F_MOVED = 8,  /* 3 or 4, and it names another ring than the one that is mapped */
    F_CONN = 16,  /* 4, and the ring is named */
    F_5 = 32,
    F_6 = 64,
    F_ODD = 128,  /* nonsense, or 3 and 4 without a ring */
    F_HELD = 256, /* any: we do not connect yet */
    F_ALL = 511
};

static enum back back_of(const struct xenback_view *view)
{
    if (view->domain_gone)
        return view->back == XENBUS_NONE || view->back == XENBUS_CLOSED ? B_DEAD_6 : B_DEAD;
    switch (view->back) {
    case XENBUS_NONE:
        return B_GONE;
    case XENBUS_CLOSING:
        return view->online ? B_5 : B_LEAVE;
    case XENBUS_CLOSED:
        return view->online ? B_6 : B_LEFT;
    case XENBUS_INITIALISING:
        return B_1;
    case XENBUS_INIT_WAIT:
        return B_2;
    case XENBUS_CONNECTED:
        return B_4;
    default:
        return B_REST;
    }
}

static enum front front_with_ring(const struct xenback_view *view, bool is_mapped)
{
    if (!view->has_ring)
        return F_ODD;
    if (is_mapped)
        return view->ring_changed ? F_MOVED : F_CONN;
    if (view->hold)
        return F_HELD;
    return view->front == XENBUS_INITIALISED ? F_READY : F_CONN;
}

static enum front front_of(const struct xenback_view *view, bool is_mapped)
{
    switch (view->front) {
    case XENBUS_NONE:
        return F_NONE;
    case XENBUS_INITIALISING:
    case XENBUS_INIT_WAIT:
        return F_INIT;
    case XENBUS_INITIALISED:
    case XENBUS_CONNECTED:
        return front_with_ring(view, is_mapped);
    case XENBUS_CLOSING:
        return F_5;
    case XENBUS_CLOSED:
        return F_6;
    default:
        return F_ODD;
    }
}

/* ---- The table: the first row that fits; none: nothing to do ---- */

#define NEW       (1u << XENBACK_NEW)
#define WAIT      (1u << XENBACK_WAIT)
#define MAPPING   (1u << XENBACK_MAPPING)
#define CONNECTED (1u << XENBACK_CONNECTED)
#define CLOSING   (1u << XENBACK_CLOSING)
#define CLOSED    (1u << XENBACK_CLOSED)
#define REFUSED   (1u << XENBACK_REFUSED)
#define DETACHED  (1u << XENBACK_DETACHED)
#define MAPPED    (MAPPING | CONNECTED)
#define UNMAPPED  (WAIT | CLOSING | CLOSED | REFUSED)
#define SERVED    (MAPPED | UNMAPPED)

static const struct row {
    unsigned phases;
    unsigned back;  /* of enum back */
    unsigned front; /* of enum front */
    struct xenback_step step;
} table[] = {
#define ROW(phases, back, front, do, state, next) {phases, back, front, {do, state, XENBACK_##next}}
    /*
     * The domain is gone: its machine is off. Not so for a device that was never served here: the instance may have
     * gone to another domain since, whose TPM it would power off.
     */
    ROW(NEW, B_DEAD, F_ALL, XENBACK_WRITE | XENBACK_RELEASE, 6, GONE),
    ROW(NEW, B_DEAD_6, F_ALL, XENBACK_RELEASE, 0, GONE),
    ROW(MAPPED, B_DEAD, F_ALL, XENBACK_UNMAP | XENBACK_WRITE | XENBACK_POWER_OFF | XENBACK_RELEASE, 6, GONE),
    ROW(MAPPED, B_DEAD_6, F_ALL, XENBACK_UNMAP | XENBACK_POWER_OFF | XENBACK_RELEASE, 0, GONE),
    ROW(UNMAPPED | DETACHED, B_DEAD, F_ALL, XENBACK_WRITE | XENBACK_POWER_OFF | XENBACK_RELEASE, 6, GONE),
    ROW(UNMAPPED | DETACHED, B_DEAD_6, F_ALL, XENBACK_POWER_OFF | XENBACK_RELEASE, 0, GONE),

    /* Hot detach, and the first half of a destroy: state 5 and online 0 are answered by 6, at once. */
    ROW(NEW, B_LEAVE, F_ALL, XENBACK_WRITE | XENBACK_RELEASE, 6, GONE),
    ROW(NEW, B_LEFT | B_GONE, F_ALL, XENBACK_RELEASE, 0, GONE),
    ROW(MAPPED, B_LEAVE, F_ALL, XENBACK_UNMAP | XENBACK_WRITE, 6, DETACHED),
    ROW(MAPPED, B_LEFT | B_GONE, F_ALL, XENBACK_UNMAP, 0, DETACHED),
    ROW(UNMAPPED | DETACHED, B_LEAVE, F_ALL, XENBACK_WRITE, 6, DETACHED),
    ROW(UNMAPPED, B_LEFT | B_GONE, F_ALL, XENBACK_NOTHING, 0, DETACHED),
    /* Attached once more: a device of this number, made anew by the toolstack. */
    ROW(DETACHED, B_1, F_ALL, XENBACK_PUBLISH | XENBACK_WRITE, 2, WAIT),

    /* Found by a scan. A live front end: a back end before us served it (4), or died on the way there (2). */
    ROW(NEW, B_2 | B_4, F_READY | F_CONN, XENBACK_PUBLISH | XENBACK_MAP, 0, MAPPING),
    ROW(NEW, B_2 | B_4, F_HELD, XENBACK_NOTHING, 0, NEW),
    ROW(NEW, B_4, F_5, XENBACK_PUBLISH | XENBACK_WRITE, 5, CLOSING),
    ROW(NEW, B_4, F_6 | F_NONE, XENBACK_PUBLISH | XENBACK_WRITE, 6, CLOSED),
    ROW(NEW, B_5, F_ALL, XENBACK_PUBLISH, 0, CLOSING),
    ROW(NEW, B_6, F_ALL, XENBACK_PUBLISH, 0, CLOSED),
    ROW(NEW, B_2, F_ALL, XENBACK_PUBLISH, 0, WAIT),
    /* libxl gives us 10 s from 1 to 2. */
    ROW(NEW, B_ALL, F_ALL, XENBACK_PUBLISH | XENBACK_WRITE, 2, WAIT),

    /* The usual way up; a front end that says 4 before us is not waited for by anybody. */
    ROW(WAIT, B_ALL, F_READY, XENBACK_MAP, 0, MAPPING),
    ROW(WAIT, B_ALL, F_5, XENBACK_WRITE, 5, CLOSING),
    /* The toolstack made the device anew between two looks of ours. */
    ROW(WAIT, B_1, F_ALL, XENBACK_PUBLISH | XENBACK_WRITE, 2, WAIT),

    /* Connected. Another ring: the driver was unbound and bound again between two looks of ours. */
    ROW(CONNECTED, B_1, F_ALL, XENBACK_UNMAP | XENBACK_PUBLISH | XENBACK_WRITE, 2, WAIT),
    ROW(CONNECTED, B_5 | B_6, F_ALL, XENBACK_UNMAP | XENBACK_WRITE, 6, CLOSED),
    ROW(CONNECTED, B_ALL, F_MOVED, XENBACK_UNMAP | XENBACK_MAP, 0, MAPPING),
    ROW(CONNECTED, B_ALL, F_INIT, XENBACK_UNMAP | XENBACK_WRITE, 2, WAIT),
    ROW(CONNECTED, B_ALL, F_5, XENBACK_UNMAP | XENBACK_WRITE, 5, CLOSING),
    ROW(CONNECTED, B_ALL, F_6 | F_NONE, XENBACK_UNMAP | XENBACK_WRITE, 6, CLOSED),

    /* Down, and up again: 6 -> 3 is answered even from our own 6 (or 5). 4 is what a leaving front end had before. */
    ROW(CLOSING, B_ALL, F_6 | F_NONE, XENBACK_WRITE, 6, CLOSED),
    ROW(CLOSING | CLOSED, B_1, F_ALL, XENBACK_PUBLISH | XENBACK_WRITE, 2, WAIT),
    ROW(CLOSING | CLOSED, B_ALL, F_READY, XENBACK_MAP, 0, MAPPING),
    ROW(CLOSING | CLOSED, B_ALL, F_INIT, XENBACK_WRITE, 2, WAIT),
    /*
     * Both sides have said 6. Linux' front end begins anew with 3 at once, and takes a 6 that it still reads of ours
     * then for an end: on a slow machine its device was gone for good. So nothing of the past is left there.
     */
    ROW(CLOSED, B_ALL, F_6, XENBACK_WRITE, 2, WAIT),

    /* What could not be mapped is not tried again until the front end, or the toolstack, begins anew. */
    ROW(REFUSED, B_1, F_ALL, XENBACK_PUBLISH | XENBACK_WRITE, 2, WAIT),
    ROW(REFUSED, B_ALL, F_INIT, XENBACK_WRITE, 2, WAIT),
    ROW(REFUSED, B_ALL, F_5 | F_6 | F_NONE, XENBACK_NOTHING, 0, CLOSED),
#undef ROW
};

struct xenback_step xenback_step(enum xenback_phase phase, const struct xenback_view *view)
{
    const bool is_mapped = phase == XENBACK_CONNECTED || phase == XENBACK_MAPPING;
    const unsigned back = back_of(view), front = front_of(view, is_mapped);

    for (size_t i = 0; i < VT_COUNT(table); i++)
        if ((table[i].phases & (1u << phase)) && (table[i].back & back) && (table[i].front & front))
            return table[i].step;
    return (struct xenback_step){XENBACK_NOTHING, 0, phase};
}

struct xenback_step xenback_mapped(bool succeeded)
{
    if (succeeded)
        return (struct xenback_step){XENBACK_WRITE, XENBUS_CONNECTED, XENBACK_CONNECTED};
    return (struct xenback_step){XENBACK_WRITE, XENBUS_CLOSED, XENBACK_REFUSED};
}

/* ---- Texts ---- */

int xenback_state(const char *text)
{
    if (!text)
        return XENBUS_NONE;
    if (text[0] < '0' || text[0] > '9' || text[1])
        return XENBUS_UNKNOWN;
    return text[0] - '0';
}

const char *xenback_phase_name(enum xenback_phase phase)
{
    static const char *const names[XENBACK_PHASES] = {"new",     "waiting", "mapping",  "connected", "closing",
                                                      "closed",  "refused", "detached", "gone"};

    return phase < XENBACK_PHASES ? names[phase] : "?";
}
