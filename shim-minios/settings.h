/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the toolstack tells the stub domain, in the domain's own directory of xenstore, which that domain alone may read:
 *
 *   /local/domain/SELF/vtpm-stubdom/credential   the text of a credential file; or that file is the ramdisk
 *                                   boot-id      the host's, /proc/sys/kernel/random/boot_id of the toolstack's domain
 *                                   server       domid of vtpm-server's domain; absent: 0
 *                                   seed         64 hexadecimal digits of randomness; absent: none
 *
 * Never on the command line: it stands in `xl list -l` and in logs. One thread.
 */
#ifndef VTPM_MINIOS_SETTINGS_H
#define VTPM_MINIOS_SETTINGS_H

#include "proto/credential.h"

#define SETTINGS_TOKEN "settings"

struct settings {
    uint32_t self;   /* domid of this domain */
    uint32_t server;
    uint8_t boot_id[16];
    struct credential credential;
    bool is_complete;       /* and the random generator runs */
    bool is_of_ramdisk;     /* the credential is */
    char server_text[24];   /* "vchan:0": for the log */
    struct vt_why said;     /* each complaint is logged once */
};

/* Finds out who we are and watches the directory. VT_EUNREACHED. The caller wipes (settings_wipe). */
int settings_begin(struct settings *settings, struct vt_why *why) VT_USE_RESULT;
void settings_wipe(struct settings *settings);
/* Reads what is missing. What is wrong is logged. True: all is there. */
bool settings_look(struct settings *settings);
/* The server has refused the key: another one may be there. False: it is the same, or it is not for this instance. */
bool settings_look_for_key(struct settings *settings) VT_USE_RESULT;

#endif
