# SPDX-License-Identifier: Apache-2.0
"""What swtpm, swtpm_setup and swtpm_ioctl have in common here: options, configuration, and which instance stands behind
a state directory. docs/swtpm-compat.md has the whole."""
import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys

# One file: `uuid=` says which instance, `key=` is the credential. It makes the directory the instance's.
CREDENTIAL = "vtpm.cred"
CONFIG = "/etc/vtpm/swtpm-compat.conf"
DEFAULTS = {"upstream": "unix:/run/vtpm-server/channel.sock", "admin": "unix:/run/vtpm-server/admin.sock",
            "shim": "vtpm-shim", "vtpmctl": "vtpmctl", "profile": "", "group": "", "ca_key": "", "ca_cert": ""}
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What a real swtpm leaves in its state directory: a TPM of its own, that must not be passed over.
FOREIGN = re.compile(r"tpm(2)?-[0-9a-f]{2}\.\S+")


class Refused(Exception):
    """Why, for a person; and the exit status."""

    def __init__(self, why, status=1):
        super().__init__(why)
        self.status = status


def run(name, act):
    """act's value is the exit status; what it refuses is said on standard error and, once it is open, in the log."""
    try:
        return act(sys.argv[1:])
    except Refused as e:
        print("%s: %s" % (name, e), file=sys.stderr)
        return e.status
    except OSError as e:
        print("%s: %s" % (name, e), file=sys.stderr)
        return 1


# ---- Options ----
def read_options(argv, flags, values, aliases=()):
    """{name: value or True}. As getopt_long reads them, but no abbreviations; an unknown or repeated one is refused."""
    aliases, found, at = dict(aliases), {}, 0
    while at < len(argv):
        word, equals, value = argv[at].partition("=")
        at += 1
        name = aliases.get(word, word)
        if name in flags and not equals:
            value = True
        elif name in values and not equals:
            if at == len(argv):
                raise Refused("%s needs a value" % word, 2)
            value = argv[at]
            at += 1
        elif name not in values:
            raise Refused("%s: not an option that vtpm-shim can stand for" % (word + equals + value), 2)
        if name in found:
            raise Refused("%s stands twice" % name, 2)
        found[name] = value
    return found


def read_fields(option, text, known):
    """The fields of a value like type=unixio,path=/x,mode=0600: {name: value}; a word without = is {word: True}."""
    fields = {}
    for field in text.split(","):
        name, equals, value = field.partition("=")
        if name not in known:
            raise Refused("%s %s: \"%s\" is not among what is known here: %s" %
                          (option, text, field, ", ".join(sorted(known))), 2)
        if name in fields:
            raise Refused("%s %s: %s stands twice" % (option, text, name), 2)
        fields[name] = value if equals else True
    return fields


def state_dir(option, text):
    """The directory of a --tpmstate or --tpm-state."""
    for prefix in "dir://", "file://":
        if text.startswith(prefix):
            if prefix == "file://":
                raise Refused("%s %s: a directory is needed" % (option, text), 2)
            text = text[len(prefix):]
    if not os.path.isdir(text):
        raise Refused("%s: %s is not a directory" % (option, text))
    return os.path.realpath(text)


# ---- Configuration ----
def config():
    path = os.environ.get("VTPM_SWTPM_CONFIG", CONFIG)
    reader = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as f:
            reader.read_file(f)
    except FileNotFoundError:
        return dict(DEFAULTS)
    except configparser.Error as e:
        raise Refused("%s: %s" % (path, str(e).replace("\n", " ")), 2) from None
    unknown = [s for s in reader.sections() if s != "swtpm"] + \
        [k for s in reader.sections() if s == "swtpm" for k in reader[s] if k not in DEFAULTS]
    if unknown:
        raise Refused("%s: not known: %s" % (path, ", ".join(unknown)), 2)
    return {**DEFAULTS, **(dict(reader["swtpm"]) if reader.has_section("swtpm") else {})}


# ---- The real programs, for TPM 2.0 ----
def real(name):
    """The next program of this name in PATH that is not ours; None."""
    ours = os.path.dirname(os.path.realpath(__file__))
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = shutil.which(name, path=folder) if folder else None
        if path and os.path.dirname(os.path.realpath(path)) != ours:
            return path
    return None


def hand_over(name, argv):
    """Does not come back: TPM 2.0 is the real program's business."""
    path = real(name)
    if not path:
        raise Refused("--tpm2: vtpm-server is a TPM 1.2, and there is no other %s in PATH for a TPM 2.0" % name)
    os.execv(path, [name, *argv])


def versions(name):
    return ["tpm-1.2"] + (["tpm-2.0"] if real(name) else [])


# ---- The instance of a state directory ----
def instance_of(folder):
    """The uuid; None when the directory has none yet."""
    path = os.path.join(folder, CREDENTIAL)
    try:
        with open(path, encoding="ascii") as f:
            match = re.search(r"(?m)^uuid=(%s)$" % UUID.pattern, f.read(4096))
    except FileNotFoundError:
        return None
    if not match:
        raise Refused("%s: it has no line uuid=: put the instance's credential file there" % path)
    return match.group(1)


def name_for(folder):
    """libvirt has the domain's uuid in the path: that one shall be found in the inventory."""
    uuids = UUID.findall(folder)
    return "libvirt-" + uuids[-1] if uuids else "swtpm-" + hashlib.sha256(folder.encode()).hexdigest()[:16]


def create(folder, settings, with_ek=True, with_certificate=False):
    """The first use of a state directory. Never in the place of a TPM that is, or was, there."""
    name, path = name_for(folder), os.path.join(folder, CREDENTIAL)
    foreign = [f for f in sorted(os.listdir(folder)) if FOREIGN.fullmatch(f)]
    if foreign:
        raise Refused("%s: %s is the state of a swtpm: no other TPM is made in its place. Empty the directory if it is "
                      "not needed any more" % (folder, foreign[0]))
    argv = [settings["vtpmctl"], "--admin", settings["admin"], "instance", "create", name, "--credential-out", path]
    for key, option in (("profile", "--profile"), ("group", "--group")):
        if settings[key]:
            argv += [option, settings[key]]
    if not with_ek:
        argv.append("--no-ek")
    elif with_certificate and settings["ca_key"]:
        argv += ["--ca-key", settings["ca_key"], "--ca-cert", settings["ca_cert"]]
    r = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if r.returncode == 5:
        raise Refused("instance %s is there already, but %s is not: no second TPM is made. To use that one: vtpmctl credential "
                      "rotate %s --credential-out %s. To begin with a new one: vtpmctl instance rename it, or delete it"
                      % (name, path, name, path))
    if r.returncode:
        raise Refused("%s: %s" % (" ".join(argv[:6]), r.stderr.strip()), r.returncode)
    return r.stdout.strip()
