# SPDX-License-Identifier: Apache-2.0
"""docs/bug-classes.md names a test for each class of bugs that earlier emulators had, and all of those exist."""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
CLASSES = [
    "length and offset wrap", "paramSize against actual size", "unknown or null handle", "uninitialised output bytes",
    "session slot leaked on an error path", "handle reuse after flush", "use after delete", "cross-instance confusion",
    "state truncated, swapped or older", "shared ring: double fetch, oversize request, oversize response",
    "vendor tags smuggled to the hardware TPM", "memcmp on secrets", "secrets in logs", "wrong IV after a partial block",
    "weak or ROCA-like keys", "OAEP label and padding checks",
]


def tests_there():
    """Names of cmocka tests that are defined and in a list, and of the integration tests' programs."""
    names = set()
    for folder, _, files in os.walk(os.path.join(ROOT, "tests")):
        for name in files:
            if name.endswith(".c"):
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    text = f.read()
                for test in re.findall(r"^static void (test_\w+)\(void \*\*", text, re.M):
                    # Defined and forgotten is not there.
                    if len(re.findall(r"\b%s\b" % test, text)) > 1:
                        names.add(test)
            elif folder.endswith("integration") and re.match(r"test_\w+\.py$", name):
                names.add("integration_" + name[5:-3])
    return names


def rows_of(text):
    for line in text.splitlines():
        cells = [c.strip() for c in line.split("|")]
        if len(cells) == 5 and cells[1] not in ("class", "---"):
            yield cells[1], re.findall(r"`(\w+)`", cells[3])


def problems_of(text, there):
    rows = dict(rows_of(text))
    for name in CLASSES:
        if not rows.get(name):
            yield "no test for: %s" % name
    for name, tests in rows.items():
        if name not in CLASSES:
            yield "no such class: %s" % name
        for test in tests:
            if test not in there:
                yield "%s: there is no %s" % (name, test)


def check_the_check():
    """A class without a test, and a test that was renamed, are noticed."""
    found = list(problems_of("| use after delete | x | `test_gone` |\n", {"test_other"}))
    assert "use after delete: there is no test_gone" in found and "no test for: secrets in logs" in found


check_the_check()
with open(os.path.join(ROOT, "docs/bug-classes.md"), encoding="utf-8") as f:
    problems = list(problems_of(f.read(), tests_there()))
for problem in problems:
    print(problem)
print("%d classes, %d problems" % (len(CLASSES), len(problems)))
sys.exit(1 if problems else 0)
