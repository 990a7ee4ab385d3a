# SPDX-License-Identifier: Apache-2.0
"""A guest under fire, and the model of its TPM.

The model knows what every PCR, NV area, key handle and session must be. While the guest's shim lives, each command is
answered, however long that takes, and did what it says exactly once. When the shim itself was killed, the command under
way was done once or not at all: the guest looks which of the two it was, and nothing else is accepted.
"""
import collections
import random
import struct
import threading
import time

from tpm12 import KH_SRK, WELL_KNOWN, Auth, Socket, Tpm, key_modulus, sha1, verify_sha1

OWNER, KEY_AUTH = sha1(b"owner"), sha1(b"key")
PCRS = (0, 7, 10, 16, 23)
AREAS = (0x1001, 0x1002)            # each write carries a value of its own
AREA_SIZE = 24
COUNTER = 0x1003                    # a number that only ever goes up by one
NV_OWNER_WRITES = 0x00000002        # read by anybody: a look after a cut needs no session
CAP_HANDLE, RT_KEY, RT_AUTH = 0x14, 1, 2
KEYS_LOADED_MOST = 3
NO_ANSWER_S = 180
OPENING, ONCE, KEPT = "opening", "once", "kept"


class Cut(Exception):
    """The connection ended with the shim."""


class Lost(AssertionError):
    """The TPM is not what the model says."""


class Randoms:
    """Numbers that a TPM made: none comes twice, from whichever TPM, also when a state was taken up again."""

    def __init__(self):
        self.lock, self.seen = threading.Lock(), set()

    def add(self, who, value):
        with self.lock:
            if value in self.seen:
                raise Lost("%s: the random number %s came twice" % (who, value.hex()))
            self.seen.add(value)


class Guest(threading.Thread):
    def __init__(self, rig, name, seed, randoms, think=0.01):
        super().__init__(name=name, daemon=True)
        self.rig, self.randoms, self.think = rig, randoms, think
        self.rng = random.Random(seed)
        self.shim = None                    # set by the test: what restarts it, and counts its deaths
        self.stopping, self.failure = threading.Event(), None
        self.story = collections.deque(maxlen=40)
        self.commands = self.cuts = self.cuts_applied = 0
        self.slowest = self.slowest_cut = 0.0
        self.pcrs = {}
        self.nv = {}
        self.handles = set()
        self.session = None                 # stays open from command to command
        self.use = None                     # how the command under way uses sessions: OPENING, ONCE, KEPT
        self.temporary = None               # handle of one opened for a single command
        self.look = None                    # after a cut: was the command applied? sets the model right
        self.writes = 0

    # ---- Transport ----

    def connect(self):
        end = time.monotonic() + NO_ANSWER_S
        while True:
            self.life = self.shim.life if self.shim else 0
            try:
                self.socket = Socket(self.rig.path(self.name + ".tpm"), timeout=NO_ANSWER_S)
                break
            except OSError as e:
                if time.monotonic() > end:
                    raise Lost("%s: no connection to its shim for %d s: %s" % (self.name, NO_ANSWER_S, e))
                time.sleep(0.02)
        self.tpm = Tpm(self.send, random=self.rng.randbytes)

    def send(self, command):
        begin = time.monotonic()
        try:
            response = self.socket(command)
        except TimeoutError:
            raise Lost("%s: no answer for %d s" % (self.name, NO_ANSWER_S))
        except OSError as e:
            self.socket.close()
            if self.shim.deaths <= self.life:
                raise Lost("%s: the connection ended, and nobody had killed the shim: %s" % (self.name, e))
            raise Cut()
        self.commands += 1
        self.slowest = max(self.slowest, time.monotonic() - begin)
        return response

    # ---- The TPM as it must be ----

    def prepare(self):
        t = self.tpm
        rc, _ = t.take_ownership(OWNER, WELL_KNOWN)
        self.expect(rc, 0, "TakeOwnership")
        rc, _, self.key = t.create_wrap_key(KH_SRK, WELL_KNOWN, KEY_AUTH, t.key_template(0x10, sig=2))
        self.expect(rc, 0, "CreateWrapKey")
        self.modulus = key_modulus(self.key)
        for area in AREAS:
            self.expect(t.nv_define(OWNER, area, AREA_SIZE, NV_OWNER_WRITES), 0, "NV_DefineSpace")
            self.nv[area] = b"\xff" * AREA_SIZE
        self.expect(t.nv_define(OWNER, COUNTER, 8, NV_OWNER_WRITES), 0, "NV_DefineSpace")
        self.nv[COUNTER] = b"\xff" * 8
        self.pcrs = {n: t.pcr(n) for n in PCRS}
        self.write(COUNTER, bytes(8))

    def expect(self, is_, must_be, what):
        if is_ != must_be:
            raise Lost("%s: %s is %r, must be %r" % (self.name, what, is_, must_be))

    def one_of(self, is_, old, new, what):
        """What the look after a cut finds; True: the command was applied."""
        if is_ not in (old, new):
            raise Lost("%s: after a cut %s is %r, neither %r nor %r" % (self.name, what, is_, old, new))
        return is_ == new

    def read_nv(self, area):
        rc, data = self.tpm.nv_read(area, 0, len(self.nv[area]))
        self.expect(rc, 0, "NV_ReadValue 0x%x" % area)
        return data

    def loaded(self, resource):
        rc, _, out = self.tpm.capability(CAP_HANDLE, struct.pack(">I", resource))
        self.expect(rc, 0, "GetCapability")
        count = struct.unpack(">H", out[4:6])[0]
        return {struct.unpack(">I", out[6 + 4 * i:10 + 4 * i])[0] for i in range(count)}

    def sessions(self):
        return {self.session.handle} if self.session else set()

    def audit(self):
        """Everything, against the model."""
        for n, value in self.pcrs.items():
            self.expect(self.tpm.pcr(n), value, "PCR %d" % n)
        for area, value in self.nv.items():
            self.expect(self.read_nv(area), value, "NV 0x%x" % area)
        self.expect(self.loaded(RT_KEY), self.handles, "the set of loaded keys")
        self.expect(self.loaded(RT_AUTH), self.sessions(), "the set of sessions")
        for handle in sorted(self.handles):
            self.sign_with(handle)
        if self.session:
            self.write_with_open_session(self.next_value())

    # ---- Sessions ----

    def open(self):
        self.use = OPENING
        session = self.tpm.oiap()
        self.use = None
        self.randoms.add(self.name, session.nonce_even)
        return session

    def once(self, secret):
        """A session for a single command."""
        session = self.open()
        self.use, self.temporary = ONCE, session.handle
        return Auth(session, secret)

    def raw(self, ordinal, auth, **kw):
        """One authorised command that must succeed."""
        rc, handles, out = self.tpm.raw(ordinal, auths=[auth], **kw)
        self.expect(rc, 0, ordinal)
        self.randoms.add(self.name, auth.session.nonce_even)
        self.use = self.temporary = self.look = None
        return handles, out

    # ---- What it does ----

    def extend(self):
        n, digest = self.rng.choice(PCRS), self.rng.randbytes(20)
        old, new = self.pcrs[n], sha1(self.pcrs[n] + digest)

        def look():
            value = self.tpm.pcr(n)
            applied = self.one_of(value, old, new, "PCR %d" % n)
            self.pcrs[n] = value
            return applied
        self.look = look
        self.expect(self.tpm.extend(n, digest), new, "PCR %d" % n)
        self.pcrs[n] = new

    def read_pcr(self):
        n = self.rng.choice(PCRS)
        self.expect(self.tpm.pcr(n), self.pcrs[n], "PCR %d" % n)

    def look_at_nv(self, area, old, new):
        def look():
            value = self.read_nv(area)
            applied = self.one_of(value, old, new, "NV 0x%x" % area)
            self.nv[area] = value
            return applied
        return look

    def write(self, area, value, auth=None):
        auth = auth or self.once(OWNER)
        self.look = self.look_at_nv(area, self.nv[area], value)
        self.raw("NV_WriteValue", auth, params=struct.pack(">III", area, 0, len(value)) + value)
        self.nv[area] = value

    def next_value(self):
        self.writes += 1
        return ("%-14s%10d" % (self.name, self.writes)).encode()

    def write_area(self):
        self.write(self.rng.choice(AREAS), self.next_value())

    def write_with_open_session(self, value=None):
        """Its nonces go on from command to command, through every death."""
        if not self.session:
            self.session = self.open()
        self.use = KEPT
        self.write(self.rng.choice(AREAS), value or self.next_value(), Auth(self.session, OWNER, keep=True))

    def count_up(self):
        value = struct.unpack(">Q", self.nv[COUNTER])[0] + 1
        self.write(COUNTER, struct.pack(">Q", value))

    def read_area(self):
        area = self.rng.choice(AREAS + (COUNTER,))
        self.expect(self.read_nv(area), self.nv[area], "NV 0x%x" % area)

    def look_at_keys(self, known, is_applied):
        def look():
            now = self.loaded(RT_KEY)
            if not is_applied(now) and now != known:
                raise Lost("%s: after a cut the loaded keys are %r; they were %r" % (self.name, now, known))
            self.handles = now
            return now != known
        return look

    def load_key(self):
        if len(self.handles) == KEYS_LOADED_MOST:
            self.evict_key()
            return
        known = frozenset(self.handles)
        auth = self.once(WELL_KNOWN)
        self.look = self.look_at_keys(known, lambda now: now > known and len(now) == len(known) + 1)
        handles, _ = self.raw("LoadKey2", auth, handles=struct.pack(">I", KH_SRK), params=self.key, out_handles=1)
        handle = struct.unpack(">I", handles)[0]
        self.expect(handle in known, False, "a handle given twice")
        self.handles.add(handle)

    def evict_key(self):
        known = frozenset(self.handles)
        handle = self.rng.choice(sorted(known))
        self.look = self.look_at_keys(known, lambda now: now == known - {handle})
        self.expect(self.tpm.flush(handle, RT_KEY), 0, "FlushSpecific")
        self.handles.discard(handle)

    def sign(self):
        if self.handles:
            self.sign_with(self.rng.choice(sorted(self.handles)))
        else:
            self.load_key()

    def sign_with(self, handle):
        digest = self.rng.randbytes(20)
        _, out = self.raw("Sign", self.once(KEY_AUTH), handles=struct.pack(">I", handle),
                          params=struct.pack(">I", 20) + digest)
        if not verify_sha1(self.modulus, digest, out[4:]):
            raise Lost("%s: the signature does not verify under the key's public part" % self.name)

    def list_handles(self):
        self.expect(self.loaded(RT_KEY), self.handles, "the set of loaded keys")
        self.expect(self.loaded(RT_AUTH), self.sessions(), "the set of sessions")

    def get_random(self):
        self.randoms.add(self.name, self.tpm.get_random(20))

    DO = ((extend, 24), (read_pcr, 8), (write_area, 12), (write_with_open_session, 12), (count_up, 10),
          (read_area, 8), (load_key, 8), (sign, 14), (list_handles, 4), (get_random, 6))

    # ---- After the shim's death ----

    def check_sessions(self, applied):
        """Those that must be open are; one more only as far as the command that was cut explains it."""
        now = self.loaded(RT_AUTH)
        extra = now - self.sessions()
        allowed = {OPENING: len(extra) <= 1, ONCE: extra <= {self.temporary}}.get(self.use, not extra)
        if self.use == ONCE and applied is not None:
            allowed = extra == (set() if applied else {self.temporary})
        if not allowed or not self.sessions() <= now:
            raise Lost("%s: after a cut (command %sapplied) the sessions are %r; open one %r, for one command %r" %
                       (self.name, {None: "perhaps ", True: "", False: "not "}[applied], now, self.sessions(),
                        self.temporary))
        if self.use == KEPT and applied:
            self.session = None         # its new nonce went with the response
        return applied

    def tidy(self):
        for handle in self.loaded(RT_AUTH) - self.sessions():
            self.expect(self.tpm.flush(handle, RT_AUTH), 0, "FlushSpecific of a session")

    def recover(self):
        begin, is_settled, applied = time.monotonic(), False, None
        self.cuts += 1
        while True:
            self.connect()
            try:
                if not is_settled:
                    applied = self.check_sessions(self.look() if self.look else None)
                    is_settled = True
                self.tidy()
                break
            except Cut:
                self.story.append("cut again while looking")
        self.cuts_applied += bool(applied)
        self.slowest_cut = max(self.slowest_cut, time.monotonic() - begin)
        self.story.append({None: "looked: nothing to see", True: "looked: applied", False: "looked: not"}[applied])

    # ---- Life ----

    def step(self):
        names, weights = zip(*self.DO)
        act = self.rng.choices(names, weights)[0]
        self.attempt(lambda: act(self), act.__name__)

    def attempt(self, act, name):
        """True: done without a cut."""
        self.look = self.use = self.temporary = None
        self.story.append(name)
        try:
            act()
            return True
        except Cut:
            self.story.append("cut")
            self.recover()
            return False

    def run(self):
        self.commands, self.slowest = 0, 0.0        # what made the TPM does not count
        try:
            while not self.stopping.is_set():
                self.step()
                time.sleep(self.rng.uniform(0, 2 * self.think))
        except Exception as e:
            self.failure = "%s: %r\n  last: %s" % (self.name, e, ", ".join(self.story))
