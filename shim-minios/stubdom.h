/* SPDX-License-Identifier: Apache-2.0 */
/* vtpm-stubdom: a vTPM back end for one guest, in a domain with nothing else in it. docs/minios.md. */
#ifndef VTPM_MINIOS_STUBDOM_H
#define VTPM_MINIOS_STUBDOM_H

/* Until platform_stopping. An exit code, as a program's; what was wrong is logged. The only thread that calls platform.h. */
int stubdom_run(void);

#endif
