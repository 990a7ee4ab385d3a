# SPDX-License-Identifier: Apache-2.0
"""--help and the man page tell of the same options: each long option of one is in the other."""
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PAGES = {"vtpm-server": "vtpm-server.8", "vtpm-shim": "vtpm-shim.8", "vtpmctl": "vtpmctl.8"}
SCRIPTS = {os.path.join(ROOT, "deploy/xen", name): name + ".8" for name in ("vtpm-xl", "vtpm-stubdom")}
OPTION = re.compile(r"--([a-z][a-z-]+)")

bad = 0
for program, page in list(PAGES.items()) + list(SCRIPTS.items()):
    text = subprocess.run([os.path.join(sys.argv[1], program), "--help"], capture_output=True, text=True, check=True).stdout
    manual = open(os.path.join(ROOT, "deploy/man", page), encoding="utf-8").read()
    shown = set(OPTION.findall(text))
    # mdoc writes an option as `.Fl -name`.
    if program in SCRIPTS:  # what it calls has options of its own
        manual = "\n".join(line for line in manual.splitlines() if "Ql" not in line and not line.startswith("# "))
    described = set(re.findall(r"\bFl (?:\\-|-)([a-z][a-z-]+)", manual)) | set(OPTION.findall(manual))
    for name in sorted(shown - described):
        print("%s --help shows --%s, %s does not" % (program, name, page))
        bad += 1
    for name in sorted(described - shown):
        print("%s describes --%s, %s --help does not" % (page, name, program))
        bad += 1
    if not shown:
        print("%s --help shows no option" % program)
        bad += 1
sys.exit(1 if bad else 0)
