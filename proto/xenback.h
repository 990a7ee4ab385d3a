/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xenbus states of one vTPM device, back end's side, as a table without I/O. It looks at levels, not at events:
 * the glue reads the nodes afresh after every watch and calls xenback_step until it says XENBACK_NOTHING. The order
 * of several actions is that of their values.
 *
 * The front end's nodes are the guest's: any value may stand there at any time. Our own state and online are written
 * by the toolstack and by us only. Xenstore not answering is no input: do nothing, mapped rings go on being served.
 */
#ifndef VTPM_PROTO_XENBACK_H
#define VTPM_PROTO_XENBACK_H

#include "server/base/base.h"

/* enum xenbus_state of Xen's public io/xenbus.h. */
enum xenbus_state {
    XENBUS_NONE = -1, /* no such node */
    XENBUS_UNKNOWN = 0,
    XENBUS_INITIALISING = 1,
    XENBUS_INIT_WAIT = 2,
    XENBUS_INITIALISED = 3,
    XENBUS_CONNECTED = 4,
    XENBUS_CLOSING = 5,
    XENBUS_CLOSED = 6
};

/* What we know of the device besides the nodes. */
enum xenback_phase {
    XENBACK_NEW,       /* found by scan or watch; perhaps served before us by a back end that died */
    XENBACK_WAIT,      /* state 2, nothing mapped */
    XENBACK_MAPPING,   /* XENBACK_MAP was said: xenback_mapped tells how it went */
    XENBACK_CONNECTED, /* state 4, the ring is mapped */
    XENBACK_CLOSING,   /* state 5, unmapped: the front end is leaving */
    XENBACK_CLOSED,    /* state 6, unmapped: the front end may come again, by state 3 (or 1) only */
    XENBACK_REFUSED,   /* state 6: its ring could not be mapped; it has to leave state 3 first */
    XENBACK_DETACHED,  /* the toolstack took the device away, which it also does right before it ends a domain: that
                          end is still waited for. Another device with the same uuid: drop this one, without off */
    XENBACK_GONE,      /* forget it */
    XENBACK_PHASES
};

enum xenback_action {
    XENBACK_NOTHING = 0,
    XENBACK_UNMAP = 1,     /* unmap ring and unbind event channel; a command under way finishes, its response is dropped */
    XENBACK_PUBLISH = 2,   /* feature-protocol-v2 = 1, before the state */
    XENBACK_WRITE = 4,     /* our state. Only while the node exists (one transaction), or a removed device would come back */
    XENBACK_MAP = 8,       /* map the ring and bind the channel that the nodes name, then xenback_mapped */
    XENBACK_POWER_OFF = 16, /* the guest's machine is gone: Detach{off}, if this device's channel still has the instance */
    XENBACK_RELEASE = 32   /* free everything of this device */
};

/* The nodes, read afresh. */
struct xenback_view {
    int back;          /* BACK/state; XENBUS_NONE: the node is gone, XENBUS_UNKNOWN: no number */
    bool online;       /* BACK/online; absent counts as true */
    int front;         /* FRONT/state, likewise */
    bool has_ring;     /* FRONT/ring-ref and event-channel are there, well-formed */
    bool ring_changed; /* and they are not the ones that are mapped */
    bool domain_gone;  /* the front end's domain does not exist any more: by the hypervisor, not by its nodes */
    bool hold;         /* no ring yet, by our own choice: another device still serves the uuid */
};

struct xenback_step {
    unsigned actions; /* of enum xenback_action */
    int write;        /* the state, with XENBACK_WRITE */
    enum xenback_phase next;
};

struct xenback_step xenback_step(enum xenback_phase phase, const struct xenback_view *view) VT_USE_RESULT;
/*
 * After XENBACK_MAP, if the phase still is XENBACK_MAPPING. False is for good: the front end loses its device (what may
 * pass, such as no memory, is tried again before). XENBACK_UNMAP may come without anything mapped.
 */
struct xenback_step xenback_mapped(bool succeeded) VT_USE_RESULT;
/* A node's text as a state: one decimal number, else XENBUS_UNKNOWN; NULL (no such node) is XENBUS_NONE. */
int xenback_state(const char *text);
/* For the log. */
const char *xenback_phase_name(enum xenback_phase phase);

#endif
