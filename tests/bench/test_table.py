# SPDX-License-Identifier: Apache-2.0
"""A figure that is missing is noticed, whatever form its absence has; what there is can be written in every form."""
import json
import xml.dom.minidom

import goals
import plot
import table
from efforts import SMOKE
from rig import check


def example():
    return table.Table("instance", "One", [table.Column("ours", "ours, ms", 1e3), table.Column("ratio", "ratio"),
                                           table.Column("held", "limit", optional=True)], [goals.CREATE, goals.COLD], "what")


def main():
    t = example()
    t.put(goals.CREATE, ours=0.0123, ratio=0.5)
    check(len(list(t.missing())) == 2, "a row without figures lacks each that must be there")
    for bad in (float("nan"), float("inf"), None):
        t.put(goals.COLD, ours=bad, ratio=1)
        check(list(t.missing()) == ["instance, %s: ours, ms" % goals.COLD], "%r is no number" % bad)
    try:
        t.put("another", ours=1)
    except AssertionError:
        print("ok: a row that nobody expects is an error")
    else:
        raise AssertionError("a row that nobody expects was taken")
    judged = goals.judge([t], SMOKE)
    check(any(goals.COLD in what for what in judged.missing()), "so is a goal without its figure")
    t.put(goals.COLD, ours=0.02, ratio=1)
    judged = goals.judge([t], SMOKE)
    check(not list(t.missing()) and not list(judged.missing()), "nothing is missing any more")
    check({row: f["reached"] for row, f in judged.rows.items()} ==
          {"create with EK / swtpm_setup --createek": "NO", goals.COLD: "NO", "cold to first answer / swtpm's start": "NO"},
          "goals that were not reached are said to be not")
    facts = {"date": "2026-01-01", "machine": "a <machine>"}
    check(json.loads(table.to_json(facts, [t]))["tables"]["instance"]["rows"][goals.COLD]["ours"] == 0.02, "JSON: seconds")
    check("| cold to first answer | 20 | 1 |  |" in t.markdown(), "markdown: in the heading's unit")
    check(len(xml.dom.minidom.parseString(plot.svg(facts, [t])).getElementsByTagName("rect")) == 3, "SVG: a bar for each ratio")


main()
