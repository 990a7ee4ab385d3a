# SPDX-License-Identifier: Apache-2.0
"""What the steps of test_libtpms.py must have covered, told by their labels: every ordinal in every state with every number
of sessions, every locality at every rule, and each behaviour of the list below."""
import collections
import fnmatch
import os
import re

from differences import ROOT
from states import STATES
from tpm12 import ORD

COUNTS = {0, 1, 2}
LOCALITIES = range(5)


def ordinals():
    """number -> name, of server/wire/ordinals.def: also those that are refused."""
    with open(os.path.join(ROOT, "server/wire/ordinals.def"), encoding="utf-8") as f:
        found = re.findall(r"^ORDINAL\((\w+), \w+, (0x[0-9A-Fa-f]+)u?,", f.read(), re.M)
    return {int(number, 16): name for name, number in found}


# Behaviours in which emulators differ, and the steps that compare them.
BEHAVIOURS = (
    ("OSAP ends with a new secret", "CreateWrapKey with OSAP that should stay", "sessions left by CreateWrapKey with OSAP"),
    ("DSAP ends with a new secret", "sessions left by a delegate's new secret"),
    ("order and codes of two proofs", "Unseal, wrong secret 0", "Unseal, wrong secret 1"),
    ("sessions end with their entity", "sessions left by the flushed key", "sessions left by the released area"),
    ("continueAuthSession", "Sign, use 1 of the session", "Sign, use 2 of the session", "continueAuthSession 2"),
    ("dictionary attack", "wrong guess 6", "right one after ResetLockValue", "ResetLockValue after a reboot"),
    ("dictionary attack over a reboot", "wrong guess 6 over a reboot"),
    ("saved state: ended by a later command", "Startup, saved, then PcrRead", "Startup, saved, then a bad command"),
    ("saved state: none", "Startup(STATE) once more, saved", "Startup(STATE) of nothing"),
    ("saved state: resettable PCRs", "PcrRead 16, saved", "PcrRead 23, saved"),
    ("keys bound to PCRs", "Sign with TPM_KEY12, 1.2 PCR 10 at locality 0, extended True", "CertifyKey of a key bound, 1.2, PCR 16, *"),
    ("NV: 64 writes without an owner", "write 63 without owner", "write 65 without owner"),
    ("NV: bound to PCRs and localities", "read, reads at PCR 16 by secret, locality 0, extended True",
     "write, writes at locality 2 by owner, locality 2, extended False"),
    ("NV: index 0", "NV_DefineSpace index 0", "global lock by nobody"),
    ("NV: T, P, U and D bits", "NV_DefineSpace T bit", "NV_DefineSpace P bit", "NV_DefineSpace U bit", "NV_DefineSpace D bit"),
    ("NV: bGlobalLock", "write by the owner, owner globallock, locked", "write by the owner, owner globallock, locked, rebooted"),
    ("HASH_* and TOSPresent", "HASH of 65 bytes", "PCR_Reset 20 at locality 2, TOS True", "SetCapability TOSPresent at locality 3",
     "TSC ResetEstablishmentBit at locality 4"),
    ("transport: exclusive", "in transport: exclusive, after it"),
    ("transport: signed log", "its signature"),
    ("transport: encrypted parameters behind handles", "in transport: AES-CTR FlushSpecific", "in transport: MGF1 Sign"),
    ("transport: DSAP", "in transport: DSAP, logged"),
    ("transport: nesting", "in transport: plain, wrapped in itself"),
    ("contexts: replay", "LoadContext OIAP, replayed", "LoadContext OIAP after a reboot"),
    ("delegation: verification count", "DSAP row 0, old count", "Delegate_VerifyDelegation, old count"),
    ("delegation: a disabled family", "DSAP disabled"),
    ("delegation: permission bits", "delegated: few, DisablePubekRead", "lent: OwnerSetDisable, bit * alone", "lent: OwnerSetDisable, bit * missing", "delegated: Quote", "delegated: CMK_ConvertMigration"),
    ("one active counter per boot", "*after one more reboot"),
    ("tick nonce", "GetTicks after a reboot"),
    ("keys that the owner keeps", "Sign with a kept key after a reboot"),
    ("as many keys as the owner may keep", "KeyControlOwner keep one more, 10 are"),
    ("audit digest", "audit digest after 1"),
    ("certified migration", "CMK_ConvertMigration approved", "CMK_CreateBlob approved"),
    ("migration", "ConvertMigrationBlob sign, type 1, authorised 1", "Sign sign, type 1, authorised 1"),
)


class Coverage:
    def __init__(self, labels):
        self.labels = set(labels)
        self.problems = []

    def need(self, label):
        if label not in self.labels:
            self.problems.append("not covered: " + label)

    def states(self):
        """Of each ordinal, whether or not it is implemented."""
        names = collections.defaultdict(set)
        for name, number in ORD.items():
            names[number].add(name)
        seen = collections.defaultdict(set)
        for label in self.labels:
            m = re.fullmatch(r"([^:]+): \d+ (\w+), (\d) sessions", label)
            if m and m[1] in STATES:
                seen[m[1], ORD[m[2]]].add(int(m[3]))
        known = ordinals()
        for state in STATES:
            missing = [name for number, name in known.items() if seen[state, number] != COUNTS]
            print("%4d of %d ordinals with 0, 1 and 2 sessions: %s" % (len(known) - len(missing), len(known), state))
            self.problems += ["not covered: %s in state %s" % (name, state) for name in missing]

    def localities(self):
        for at in LOCALITIES:
            for n in range(24):
                self.need("Extend %d at locality %d" % (n, at))
                for tos in (False, True):
                    self.need("PCR_Reset %d at locality %d, TOS %s" % (n, at, tos))
            for bound in LOCALITIES:
                for what in ("Unseal", "Sign", "NV_ReadValue", "NV_WriteValue"):
                    self.need("%s of what is bound to locality %d, at locality %d" % (what, bound, at))
            self.need("Seal at locality %d" % at)
            self.need("Quote2 at locality %d" % at)
        print("%4d localities: Extend and PCR_Reset of 24 PCRs, Seal, Unseal, keys, NV, Quote2" % len(LOCALITIES))

    def behaviours(self):
        for name, *steps in BEHAVIOURS:
            for step in steps:
                if not fnmatch.filter(self.labels, step):
                    self.problems.append("not covered: %s: %s" % (name, step))
        print("%4d behaviours in which emulators differ" % len(BEHAVIOURS))

    def check(self):
        self.states()
        self.localities()
        self.behaviours()
        for problem in self.problems:
            print(problem)
        return len(self.problems)
