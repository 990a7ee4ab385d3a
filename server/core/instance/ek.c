/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endorsement key's certificate: a part of manufacture that may come a little later, because who signs it
 * is elsewhere. So it is allowed while the TPM was never powered on, and no longer.
 */
#include "server/core/instance/instance_priv.h"

#include <stdio.h>

#include "server/engine/tpm.h"

bool instance_ek_allow(struct instance *i)
{
    struct db_instance row;
    int err = db_instance_get(i->broker->db, &i->node.uuid, &row);

    if (err) {
        instance_finish(i, err, INSTANCE_STORE_SHUT);
        return false;
    }
    /* "ready": made and never powered on. The row's word goes with the record of each power on. */
    if (i->record.power == RECORD_OFF && strcmp(row.power, "ready") == 0)
        return true;
    instance_finish(i, VT_ECONFLICT,
                    "it was powered on already: its endorsement key gets a certificate before the first "
                    "power on, or never");
    return false;
}

bool instance_ek_plausible(const struct sandbox_state *reply)
{
    if (reply->response.len != 1)
        return false;
    if (reply->response.data[0] == SANDBOX_EK_INSTALLED)
        return reply->dirty == TPM_DIRTY_PERMANENT && !reply->is_on;
    return reply->response.data[0] <= SANDBOX_EK_TOO_LATE && !reply->dirty;
}

void instance_ek_refused(struct instance *i)
{
    static const struct {
        int err;
        const char *text;
    } verdicts[] = {
        [SANDBOX_EK_NO_CERTIFICATE] = {VT_EUSAGE, "this is no X.509 certificate (version 3) of an RSA key"},
        [SANDBOX_EK_OTHER_KEY] = {VT_ECONFLICT,
                                  "the certificate is for another key than this instance's endorsement key: "
                                  "vtpmctl ekcert request shows the right one"},
        [SANDBOX_EK_NO_KEY] = {VT_ECONFLICT, "it has no endorsement key (--no-ek)"},
        [SANDBOX_EK_TOO_LATE] = {VT_ECONFLICT,
                                 "its endorsement key has a certificate already: vtpmctl ekcert show"},
    };
    const uint8_t verdict = i->side.data[0]; /* instance_ek_plausible */

    instance_finish(i, verdicts[verdict].err, verdicts[verdict].text);
}

void instance_ek_text(const struct job *job, char *out, size_t size)
{
    uint8_t digest[CR_SHA256_LEN];
    char hex[2 * CR_SHA256_LEN + 1];

    cr_sha256(digest, job->what.data, job->what.len);
    vt_hex(hex, digest, sizeof digest);
    snprintf(out, size, "the endorsement key's certificate was installed: sha256 %s, %zu bytes", hex,
             job->what.len);
}
