/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the broker and its engine processes say to each other. Three processes, two sockets:
 *
 *   broker --control--> zygote (vtpm-engine --zygote, descriptor 3, SOCK_SEQPACKET)
 *      SPAWN or SPAWN_MAKER {id} + one descriptor by SCM_RIGHTS  ->  SPAWNED {id, pid} | SPAWN_FAILED {id, errno}
 *      KILL {id}  (nothing, then EXITED)
 *      (unasked) EXITED {id, pid, wait status, system call the filter stopped or -1, its name}
 *   broker <--instance socket (SOCK_STREAM)--> sandbox or key maker: one request, one reply, in turn.
 *
 * Frames on the instance socket: 4-byte big-endian length of what follows, one byte type, payload. Integers are
 * big-endian. The broker bounds what a sandbox sends (it ran guest bytes): SANDBOX_FRAME_MAX, checked before
 * allocation; lengths inside are read with bounded cursors.
 */
#ifndef VTPM_SANDBOX_SANDBOX_H
#define VTPM_SANDBOX_SANDBOX_H

#include "server/base/err.h"

#define SANDBOX_CONTROL_FD 3
#define SANDBOX_FRAME_MAX (512u * 1024)

enum sandbox_control {
    SANDBOX_SPAWN = 1,
    SANDBOX_SPAWNED = 2,
    SANDBOX_SPAWN_FAILED = 3,
    SANDBOX_EXITED = 4,
    SANDBOX_READY = 5,      /* zygote, once, after its self-tests: {ok u32, text of backend or of what failed} */
    SANDBOX_KILL = 6,       /* broker: {id}; by the parent, so never a process that took the pid over */
    SANDBOX_SPAWN_MAKER = 50, /* as SPAWN: a key maker (keymaker.h) */
};

/* Fixed layout on the control socket (same machine, same build). */
struct sandbox_control_msg {
    uint32_t type;
    uint32_t id;            /* chosen by the broker */
    int32_t pid;
    int32_t status;         /* of waitpid, or errno, or ok */
    int32_t syscall;        /* EXITED: number the filter refused, or -1 */
    char text[108];
};

enum sandbox_request {
    /* {seed[48], profile (wire form), with_ek u8} -> STATE */
    SANDBOX_MANUFACTURE = 1,
    /* {entropy[32], permanent u32+bytes, volatile u32+bytes} -> STATE (dirty 0) or FAILED */
    SANDBOX_THAW = 2,
    /* {locality u8, now_us u64, command u32+bytes} -> STATE with the response */
    SANDBOX_EXECUTE = 3,
    /*
     * {now_us u64, startup u8 (enum vtpm.Startup), count u8, count * (pcr u8, digest[20])} -> STATE; response = that of
     * TPM_Startup or empty. The digests are extended right after TPM_Startup(ST_CLEAR), all of them, or it is FAILED.
     */
    SANDBOX_POWER_ON = 4,
    /* {} -> STATE */
    SANDBOX_POWER_OFF = 5,
    /* {act u8, locality u8, data u32+bytes} -> STATE; response = {tpm_rc u32, established u8} */
    SANDBOX_PLATFORM = 6,
    /* {} -> STATE, nothing dirty; response = {modulus u32+bytes, exponent u32, certificate u32+bytes}; empty: none */
    SANDBOX_EK_READ = 20,
    /* {certificate u32+bytes (DER)} -> STATE; response = {verdict u8 (enum sandbox_ek)}; permanent if it was installed */
    SANDBOX_EK_INSTALL = 21,
    /* {} -> STATE, nothing dirty; response = 24 PCRs, 20 bytes each; empty: the TPM is not started */
    SANDBOX_PCR_READ = 22,
    /*
     * {seed[48], profile (wire form), key length u8, derived u8, key[32], file u32+bytes} -> STATE; response = what came
     * along (messages.h). Instead of MANUFACTURE: swtpm's file (server/engine/swtpm.h). FAILED's text is for who asked.
     */
    SANDBOX_SWTPM = 40,
    /* The answer to EVIDENCE, while EXECUTE waits for it: {err i32, evidence}. Nothing but this may come then. */
    SANDBOX_EVIDENCE_IS = 23,
    /* The answer to KEY, while EXECUTE, MANUFACTURE or SWTPM waits for it: {err i32, key (keys.h)}; err: no key follows. */
    SANDBOX_KEY_IS = 50,
    /* To a key maker, and nothing else: {seed[48], bits u32, e u32} -> KEY_MADE */
    SANDBOX_KEY_MAKE = 51,
};

enum sandbox_reply {
    /*
     * {dirty u8, is_on u8, has_ek u8, ek_sha256[32], response u32+bytes, volatile u32+bytes, permanent u32+bytes}
     * volatile: when dirty has TPM_DIRTY_VOLATILE; permanent: when dirty has TPM_DIRTY_PERMANENT; else empty.
     * MANUFACTURE, SWTPM, POWER_ON and POWER_OFF always carry both.
     */
    SANDBOX_STATE = 64,
    /* {err i32 (enum vt_err), text}: the sandbox then exits. */
    SANDBOX_FAILED = 65,
    /*
     * In the middle of an EXECUTE, once at most: {nonce[32], mask u32, host mask u32, 24 PCRs, 20 bytes each}. The broker
     * answers with EVIDENCE_IS, however long that takes; the STATE of the EXECUTE follows.
     */
    SANDBOX_EVIDENCE = 66,
    /*
     * In the middle of an EXECUTE, a MANUFACTURE or an SWTPM, SANDBOX_KEYS_MAX times at most: {bits u32, e u32}. KEY_IS
     * follows, however long that takes.
     */
    SANDBOX_KEY = 52,
    /* A key maker's: {err i32, key}; err: no key follows. */
    SANDBOX_KEY_MADE = 53,
};

/* ---- Inside the engine process (server/sandbox) ---- */

/* The zygote: never returns to its caller's business; exit status for main. Single-threaded. */
int sandbox_zygote(int control_fd);
/* One instance: serves `fd` until it closes. Runs after confinement. */
int sandbox_serve(int fd);
/* No new privileges, no dumps, limits, closed descriptors but `fd`, seccomp filter. Fails closed. */
int sandbox_confine(int fd, struct vt_why *why) VT_USE_RESULT;

#endif
