/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on the store and the server. */
#include "server/ctl/verbs.h"

#include <stdio.h>

/* A reply that must hold what was asked for; else the server is not ours. */
static int incomplete(const struct arguments *a, Vtpm__AdminReply *reply)
{
    ctl_reply_free(reply);
    return print_error(&a->ctl, VT_EPROTO, "the server's answer lacks what was asked for");
}

int run_status(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Status status = VTPM__STATUS__INIT;
    Vtpm__AdminReply *reply;
    int code;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_STATUS;
    request.status = &status;
    code = ctl_ask(a, &request, &reply);
    if (code)
        return code;
    if (!reply->status)
        return incomplete(a, reply);
    print_status(&a->ctl, reply);
    ctl_reply_free(reply);
    return 0;
}

int run_anchor(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Anchor anchor = VTPM__ANCHOR__INIT;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_ANCHOR;
    request.anchor = &anchor;
    return ctl_do(a, &request);
}

/* What was found is shown also when it is bad. */
int run_check(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Check check = VTPM__CHECK__INIT;
    Vtpm__AdminReply *reply;
    struct vt_why why = {0};
    int code, err;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_CHECK;
    request.check = &check;
    err = ctl_call(&a->ctl, &request, &reply, &why);
    if (err)
        return ctl_fail(a, err, &why);
    code = vt_err_exit(reply->err);
    if (reply->check)
        print_check(&a->ctl, reply);
    else
        code = print_error(&a->ctl, reply->err ? reply->err : VT_EPROTO, reply->text);
    ctl_reply_free(reply);
    return code;
}

#define EVENT_PAGE 1000

int run_events(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Events events = VTPM__EVENTS__INIT;
    Vtpm__AdminReply *reply;
    struct json_t *list = print_events_begin(&a->ctl);
    char note[256] = "";
    size_t count;

    (void)operands;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_EVENTS;
    request.events = &events;
    events.limit = EVENT_PAGE;
    events.verify = is_given(a, OPT(VERIFY));
    do {
        int code = ctl_ask(a, &request, &reply);
        if (code)
            return code;
        count = reply->n_events;
        print_events_page(&a->ctl, list, reply);
        if (count)
            events.after = reply->events[count - 1]->id;
        if (events.verify)
            snprintf(note, sizeof note, "%s", reply->text);
        events.verify = false; /* the first call checked the whole chain */
        ctl_reply_free(reply);
    } while (count >= EVENT_PAGE - 1);
    print_events_end(&a->ctl, list, is_given(a, OPT(VERIFY)), note);
    return 0;
}
