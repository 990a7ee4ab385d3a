# SPDX-License-Identifier: Apache-2.0
"""The commands that are measured, as recipes of bench_load, and what each is held against."""
import struct

from load import Load
from peers import AREA, AREA_INDEX, DATA, KEY
from tpm12 import ET_KEYHANDLE, KH_SRK, WELL_KNOWN, Tpm, pcr_selection

CHEAP, PRIVATE, GENERATE, OWN = "cheap", "private", "generate", "own"
AUTH_RESOURCE, KEY_RESOURCE = 2, 1
PCR = 10


def u32(*numbers):
    return b"".join(struct.pack(">I", n) for n in numbers)


class Command:
    """name: in the table. cycle: recipes that the guest sends in turn. after: what gives back the handles."""

    def __init__(self, name, kind, limit, cycle, after=None):
        self.name, self.kind, self.limit, self.cycle, self.after = name, kind, limit, cycle, after


ECHO, RSA, SYNC = "echo", "RSA", "fdatasync"
COMMANDS = [
    Command("PcrRead", CHEAP, ECHO, "pcr_read"),
    Command("Extend", CHEAP, ECHO, "extend"),
    Command("GetCapability", CHEAP, ECHO, "get_capability"),
    Command("OIAP/FlushSpecific", CHEAP, ECHO, "oiap+flush_session"),
    Command("GetRandom", CHEAP, ECHO, "get_random"),
    Command("NV write", CHEAP, SYNC, "nv_write"),
    Command("Sign", PRIVATE, RSA, "sign"),
    Command("Quote", PRIVATE, RSA, "quote"),
    Command("Unseal", PRIVATE, RSA, "unseal"),
    Command("LoadKey2", PRIVATE, RSA, "load_key2", after="flush_key"),
    Command("CreateWrapKey", GENERATE, ECHO, "create_wrap_key"),
    Command("TakeOwnership", OWN, RSA, None),
]
BY_NAME = {c.name: c for c in COMMANDS}


def simple_recipes(load, group):
    """What needs neither owner nor keys."""
    load.recipe(group, "pcr_read", "PcrRead", params=u32(PCR))
    load.recipe(group, "extend", "Extend", params=u32(PCR) + b"\x01" * 20)
    load.recipe(group, "get_capability", "GetCapability", params=u32(5, 4, 0x101))
    load.recipe(group, "oiap", "OIAP", keep=True)
    load.recipe(group, "flush_session", "FlushSpecific", params=u32(AUTH_RESOURCE), take=True)
    load.recipe(group, "get_random", "GetRandom", params=u32(16))


def nv_recipe(load, group):
    data = bytes(32)
    load.recipe(group, "nv_write", "NV_WriteValueAuth", params=u32(AREA_INDEX, 0, len(data)) + data, auths=[AREA],
                vary=12)


def generate_recipe(load, group):
    load.recipe(group, "create_wrap_key", "CreateWrapKey", handles=u32(KH_SRK),
                params=bytes(40) + Tpm.key_template(0x10, sig=2), osap=(ET_KEYHANDLE, KH_SRK, WELL_KNOWN, KEY))


def all_recipes(load: Load, group, kit):
    """Loads the signing key of the kit, too."""
    rc, key = Tpm(load.transport(group)).load_key2(KH_SRK, WELL_KNOWN, kit.key)
    assert rc == 0, hex(rc)
    simple_recipes(load, group)
    nv_recipe(load, group)
    generate_recipe(load, group)
    load.recipe(group, "sign", "Sign", handles=u32(key), params=u32(20) + b"\x02" * 20, auths=[KEY])
    load.recipe(group, "quote", "Quote", handles=u32(key), params=b"\x03" * 20 + pcr_selection([PCR]), auths=[KEY])
    load.recipe(group, "unseal", "Unseal", handles=u32(KH_SRK), params=kit.sealed, auths=[WELL_KNOWN, DATA])
    load.recipe(group, "load_key2", "LoadKey2", handles=u32(KH_SRK), params=kit.key, auths=[WELL_KNOWN], keep=True)
    load.recipe(group, "flush_key", "FlushSpecific", params=u32(KEY_RESOURCE), take=True)
