/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs on bindings: from which Xen domains an instance may be attached. */
#include "server/ctl/verbs.h"

int run_binding_add(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Binding binding = VTPM__BINDING__INIT;

    binding.instance = operands[0];
    binding.peer = a->peer;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BINDING_ADD;
    request.binding_add = &binding;
    return ctl_do(a, &request);
}

int run_binding_list(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Binding binding = VTPM__BINDING__INIT;

    if (operands[0])
        binding.instance = operands[0];
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BINDING_LIST;
    request.binding_list = &binding;
    return ctl_show(a, &request, print_bindings);
}

int run_binding_remove(const struct arguments *a, char *const *operands)
{
    Vtpm__AdminRequest request = VTPM__ADMIN_REQUEST__INIT;
    Vtpm__Binding binding = VTPM__BINDING__INIT;

    binding.instance = operands[0];
    /* An empty peer would mean all. */
    if (a->peer && !*a->peer)
        return print_error(&a->ctl, VT_EUSAGE, "--peer is empty; leave it out to remove all bindings");
    if (a->peer)
        binding.peer = a->peer;
    request.verb_case = VTPM__ADMIN_REQUEST__VERB_BINDING_REMOVE;
    request.binding_remove = &binding;
    return ctl_do(a, &request);
}
