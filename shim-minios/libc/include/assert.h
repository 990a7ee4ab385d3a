/* SPDX-License-Identifier: Apache-2.0 */
#undef assert
#ifdef NDEBUG
#define assert(ok) ((void)0)
#else
#define assert(ok) ((ok) ? (void)0 : abort())
#endif
#ifndef MINIOS_LIBC_ASSERT_H
#define MINIOS_LIBC_ASSERT_H
_Noreturn void abort(void);
#endif
