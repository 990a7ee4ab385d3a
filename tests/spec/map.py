# SPDX-License-Identifier: Apache-2.0
"""docs/spec-map.md: ordinal x paragraph x tests, and whether the tests reach all that a handler can answer.

    map.py TESTS_DIR [--write]      runs TESTS_DIR/test_spec_*, test_engine_* with a trace of every command

What a handler can answer is read from its source: the return codes in cmd_NAME() and in the static functions of
its file that it calls. For each implemented ordinal the tests must have seen, as executed commands:
  success; success under each number of sessions that its row accepts; a wrong proof where it accepts sessions;
  every return code of its handler, but those that tests/spec/unreached names with the reason.
And its paragraph must be named by a test: /*= p3:16.1#4 */. A row without a handler is named by tests/spec/refused with
the reason, and the tests must have seen it refused. The page, with all rows, must be what this prints.
"""
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PAGE = os.path.join(ROOT, "docs/spec-map.md")
BEFORE_LOOK_UP = ("TPM_BAD_ORDINAL", "TPM_BADTAG", "TPM_BAD_PARAM_SIZE", "TPM_BAD_LOCALITY", "TPM_FAIL")
AUTHFAIL = ("TPM_AUTHFAIL", "TPM_AUTH2FAIL")

Row = collections.namedtuple("Row", "name snake number auth_min auth_max")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def return_codes():
    """name -> number"""
    return {m[0]: int(m[1], 0) for m in
            re.findall(r"\b(TPM_\w+) = (0x[0-9A-Fa-f]+|\d+),", read("server/wire/return_codes.h"))}


def rows():
    numbers = {m[1]: int(m[2], 0) for m in
               re.findall(r"ORDINAL\((\w+), (\w+), (0x[0-9A-Fa-f]+)u?,", read("server/wire/ordinals.def"))}
    for m in re.finditer(r"^TPM_CMD\((\w+), (\w+),(.*?)\)\n(?=\n|TPM_|/\*|$)", read("server/engine/commands.def"),
                         re.S | re.M):
        auth = re.search(r"\.auth = \{(\d), (\d)\}", m[3])
        low, high = (int(auth[1]), int(auth[2])) if auth else (0, 0)
        yield Row(m[1].replace("TPM_ORD_", "").replace("TSC_ORD_", "TSC_"), m[2], numbers[m[2]], low, high)


def ordinals():
    """snake -> (name, number) of every row, in the table's order"""
    numbers = {m[1]: int(m[2], 0) for m in
               re.findall(r"ORDINAL\((\w+), (\w+), (0x[0-9A-Fa-f]+)u?,", read("server/wire/ordinals.def"))}
    return {m[2]: (m[1].replace("TPM_ORD_", "").replace("TSC_ORD_", "TSC_"), numbers[m[2]], m[0].startswith("TPM_CMD_ABSENT"))
            for m in re.finditer(r"^TPM_CMD(?:_ABSENT)?\((\w+), (\w+),", read("server/engine/commands.def"), re.M)}


def refused():
    """name -> (paragraph, reason)"""
    lines = [line for line in read("tests/spec/refused").splitlines() if line and not line.startswith("#")]
    return {name: (paragraph, reason) for name, paragraph, reason in
            ([part.strip() for part in line.split("|")] for line in lines)}


def functions(text):
    """name -> body, of one file in this project's layout"""
    return {m[1]: m[2] for m in re.finditer(r"^[A-Za-z_].*?\b(\w+)\([^;{]*?\)\n\{\n(.*?)^\}", text, re.S | re.M)}


def handlers(codes):
    """snake -> (paragraph, codes that its functions name)"""
    found = {}
    for path in sorted(glob.glob(os.path.join(ROOT, "server/engine/cmd/*.c"))):
        text = read(path)
        bodies = functions(text)
        for m in re.finditer(r"/\* TPM 1\.2 Part 3, ([\d.]+)[^\n]*\*/\ntpm_rc cmd_(\w+)\(", text):
            reached, todo = set(), ["cmd_" + m[2]]
            while todo:
                name = todo.pop()
                if name in bodies and name not in reached:
                    reached.add(name)
                    todo += re.findall(r"\b([a-z]\w+)\b", bodies[name])
            words = {w for name in reached
                     for line in re.findall(r"(?:return |rc = |\? TPM|: TPM)[^;]*;", bodies[name])
                     for w in re.findall(r"\bTPM_\w+\b", line)}
            found[m[2]] = (m[1], {w for w in words if w in codes} - {"TPM_SUCCESS"})
    return found


def marks():
    """paragraph -> [(test, [mark])]"""
    by_paragraph = collections.defaultdict(list)
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/spec/*.c")) + glob.glob(os.path.join(ROOT, "tests/unit/*.c"))):
        for m in re.finditer(r"/\*= ([^*]*)\*/\s*static void (test_\w+)\(", read(path)):
            for mark in m[1].split():
                paragraph = re.sub(r"^p3:|#.*$", "", mark)
                if mark.startswith("p3:"):
                    by_paragraph[paragraph].append((m[2], mark))
    return by_paragraph


def traces(tests):
    """set of (ordinal, sessions, return code) over all tests"""
    seen = set()
    programs = sorted(p for p in glob.glob(os.path.join(tests, "test_spec_*")) + glob.glob(os.path.join(tests, "test_engine_*"))
                      if os.access(p, os.X_OK))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        def run(program):
            subprocess.run([program], env=dict(os.environ, VTPM_SPEC_TRACE=folder), stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=True)
        list(pool.map(run, programs))
        for name in os.listdir(folder):
            with open(os.path.join(folder, name)) as f:
                seen |= {(int(a, 16), int(b), int(c, 16)) for a, b, c in (line.split() for line in f)}
    return seen


def unreached():
    """(ordinal's name or *, code) that no test of ours can bring about, with the reason"""
    allowed = {}
    for line in read("tests/spec/unreached").splitlines():
        line = line.split("#", 1)[0].strip()
        if line:
            where, reason = line.split("|", 1)
            name, code = where.split()
            allowed[name, code] = reason.strip()
    return allowed


def missing(row, handler, seen, codes, allowed):
    def was(auths, code):
        return (row.number, auths, codes[code]) in seen

    counts = range(row.auth_min, row.auth_max + 1)
    for auths in counts:
        if not was(auths, "TPM_SUCCESS") and (row.name, "%d-sessions" % auths) not in allowed:
            yield "success with %d sessions" % auths
    if row.auth_max and not any(was(n, c) for n in counts for c in AUTHFAIL) and (row.name, "TPM_AUTHFAIL") not in allowed:
        yield "a wrong proof"
    for code in sorted(handler[1]):
        if not any(was(n, code) for n in range(3)) and (row.name, code) not in allowed and ("*", code) not in allowed:
            yield code


def page(table, paragraphs, tests_of, no):
    lines = ["# Specification map", "",
             "Generated by `python3 tests/spec/map.py build/dev/tests --write`; the test `spec_map` fails when it is not "
             "what the sources say,", "or when an ordinal lacks a test of its success, of a return code of its handler "
             "(tests/spec/unreached names the exceptions),", "or of a number of sessions that it accepts. Last come the rows that are refused, with the reason (tests/spec/refused). Any other",
             "number, 0xD9 of a withdrawn TPM_Delegate_ReadAuth among them, is no ordinal: TPM_BAD_ORDINAL.", "",
             "| ordinal | Part 3 | sessions | answers of its own | tests that name its actions |",
             "|---|---|---|---|---|"]
    for row in table:
        paragraph, answers = paragraphs[row.snake]
        sessions = "-" if not row.auth_max else "%d" % row.auth_max if row.auth_min == row.auth_max else "%d-%d" % (
            row.auth_min, row.auth_max)
        tests = collections.OrderedDict()
        for test, mark in tests_of.get(paragraph, []):
            tests.setdefault(test, []).append(mark.partition("#")[2])
        named = "; ".join("%s%s" % (t, " (%s)" % ", ".join(a for a in actions if a) if any(actions) else "")
                          for t, actions in tests.items())
        lines.append("| %s | %s | %s | %s | %s |" % (
            row.name, paragraph, sessions, " ".join(a.replace("TPM_", "") for a in sorted(answers)) or "-", named))
    for name, (paragraph, reason) in no.items():
        lines.append("| %s | %s | - | BAD_ORDINAL | refused: %s |" % (name, paragraph, reason))
    return "\n".join(lines) + "\n"


def main():
    codes, table, allowed = return_codes(), list(rows()), unreached()
    paragraphs, tests_of, seen = handlers(codes), marks(), traces(sys.argv[1])
    problems = ["%s: no handler with its paragraph above it" % r.name for r in table if r.snake not in paragraphs]
    table = [r for r in table if r.snake in paragraphs]
    for row in table:
        if not tests_of.get(paragraphs[row.snake][0]):
            problems.append("%s: no test names %s" % (row.name, paragraphs[row.snake][0]))
        problems += ["%s: not tested: %s" % (row.name, what) for what in missing(row, paragraphs[row.snake], seen, codes, allowed)]
    for name, code in allowed:
        known = name == "*" or any(r.name == name for r in table)
        if not known:
            problems.append("tests/spec/unreached: %s %s: there is no such ordinal" % (name, code))
        elif code in codes and name != "*" and any((r.number, n, codes[code]) in seen for r in table if r.name == name for n in range(3)):
            problems.append("tests/spec/unreached: %s %s: it is reached" % (name, code))
    no, absent = refused(), {name: number for name, number, is_absent in ordinals().values() if is_absent}
    problems += ["tests/spec/refused: %s is %s" % (name, "not in it" if name in absent else "implemented, or no ordinal")
                 for name in absent.keys() ^ no.keys()]
    problems += ["%s: no test sees it refused" % name for name, number in absent.items()
                 if (number, codes["TPM_BAD_ORDINAL"]) not in {(o, rc) for o, _, rc in seen}]
    problems += ["%s: refused, but a test sees another answer" % name for name, number in absent.items()
                 if {rc for o, _, rc in seen if o == number} - {codes[c] for c in BEFORE_LOOK_UP}]
    text = page(table, paragraphs, tests_of, no)
    if "--write" in sys.argv:
        with open(PAGE, "w", encoding="utf-8") as f:
            f.write(text)
    elif not os.path.exists(PAGE) or read(PAGE) != text:
        problems.append("docs/spec-map.md is not up to date: python3 tests/spec/map.py build/dev/tests --write")
    for problem in problems:
        print(problem)
    print("%d ordinals implemented, %d refused, %d commands of different outcome seen, %d problems" %
          (len(table), len(no), len(seen), len(problems)))
    return 1 if problems else 0


sys.exit(main())
