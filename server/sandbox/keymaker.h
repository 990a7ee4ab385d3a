/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key maker: a process that the zygote forks as it forks sandboxes, behind the same filter, and that makes RSA keys for
 * the broker. It sees no guest's byte; it stands behind the sandboxes where processors are short.
 */
#ifndef VTPM_SANDBOX_KEYMAKER_H
#define VTPM_SANDBOX_KEYMAKER_H

#include "server/base/base.h"

/* Before sandbox_confine, which takes the calls away. As far as the host allows it. */
void keymaker_lower_priority(void);
/* Serves SANDBOX_KEY_MAKE on `fd` until it closes; the exit status. After confinement. */
int keymaker_serve(int fd);

#endif
