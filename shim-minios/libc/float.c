/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf-c asks whether a float is 0. No message of ours has one; without vector registers the compiler makes it a call,
 * with the bits in plain registers.
 */
#include <stdint.h>

int __eqsf2(uint32_t a, uint32_t b);
int __eqdf2(uint64_t a, uint64_t b);

/* 0: equal. +0 and -0 are, NaN is not even to itself. */
int __eqsf2(uint32_t a, uint32_t b)
{
    if (!((a | b) << 1))
        return 0;
    return a != b || (a << 1) > 0xff000000u;
}

int __eqdf2(uint64_t a, uint64_t b)
{
    if (!((a | b) << 1))
        return 0;
    return a != b || (a << 1) > 0xffe0000000000000u;
}
