/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay_errors.h"

static const struct relay_advice table[] = {
    {VT_EAUTH, RELAY_SLOWLY, RELAY_REFUSED,
     "the credential file does not fit the server, or the instance is disabled, deleted or unknown there: see "
     "`vtpmctl instance show` and `vtpmctl credential rotate`"},
    {VT_EPERM, RELAY_SLOWLY, RELAY_REFUSED,
     "the server does not let this credential use the instance: see `vtpmctl instance show`, `vtpmctl instance enable`"},
    {VT_EMOVED, RELAY_SLOWLY, RELAY_REFUSED,
     "its guest gets TPM_FAIL here: restore the guest on that server; see `vtpmctl instance show`"},
    {VT_ENOTFOUND, RELAY_SLOWLY, RELAY_REFUSED, "the server has no such instance: see `vtpmctl instance list`"},
    {VT_EBROKEN, RELAY_SLOWLY, RELAY_RESEND,
     "the instance's state cannot be opened and is left as it is: see `vtpmctl instance show` and `vtpmctl check`"},
    {VT_EDAMAGED, RELAY_SLOWLY, RELAY_RESEND, "the instance's state is damaged: see `vtpmctl check`"},
    {VT_EKEY, RELAY_SLOWLY, RELAY_RESEND, "the server cannot open the instance's state: see `vtpmctl keyslot list`"},
    {VT_EPOWER, RELAY_SLOWLY, RELAY_RESEND,
     "the TPM lost its volatile state with the server's host: restart the guest, or `vtpmctl instance power-cycle`"},
    {VT_EFENCED, RELAY_NEVER, RELAY_REFUSED,
     "another shim attached to the instance with the same credential: only one of them may run"},
    {VT_EUSAGE, RELAY_SLOWLY, RELAY_REFUSED, "the server refused the request: check the options and versions of both programs"},
    {VT_ENOTSUP, RELAY_SLOWLY, RELAY_REFUSED, "the server is of another version or lacks this: update one of the two"},
    {VT_ECONFLICT, RELAY_SLOWLY, RELAY_REFUSED, "see `vtpmctl instance show`"},
    {VT_ETOOBIG, RELAY_SOON, RELAY_REFUSED, "the command is longer than the server takes"},
    {VT_EUNAVAILABLE, RELAY_SOON, RELAY_NOT_NOW, "it is tried again; meanwhile the guest is told to retry"},
    {VT_ENOSPC, RELAY_SOON, RELAY_NOT_NOW, "it is tried again; meanwhile the guest is told to retry"},
    {VT_EUNKNOWN, RELAY_SOON, RELAY_IN_DOUBT, "it is tried again; meanwhile the guest is told to retry"},
    {VT_EPROTO, RELAY_SOON, RELAY_REFUSED, "what answers there may not be a vtpm-server of this version"},
};

static const struct relay_advice otherwise = {VT_EFAIL, RELAY_SOON, RELAY_RESEND, "trying again"};

const struct relay_advice *relay_advice(int err)
{
    for (size_t i = 0; i < VT_COUNT(table); i++)
        if (table[i].err == err)
            return &table[i];
    return &otherwise;
}

bool relay_no_store(int err)
{
    const enum relay_outcome outcome = relay_advice(err)->command;

    return outcome == RELAY_NOT_NOW || outcome == RELAY_IN_DOUBT;
}
