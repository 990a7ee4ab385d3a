# SPDX-License-Identifier: Apache-2.0
"""A plot of the ratios, written by hand: nothing to install."""
import html
import math

ROW, LEFT, WIDTH, TOP = 20, 300, 420, 60
LEAST, MOST = 0.005, 20.0
GOOD, BAD = "#2a7f62", "#b3541e"


def place(value):
    """On a logarithmic scale; what is outside stands at its end."""
    value = min(max(value, LEAST), MOST)
    return LEFT + WIDTH * math.log(value / LEAST) / math.log(MOST / LEAST)


def bars(tables):
    """(label, ratio to swtpm)"""
    wanted = (("unix", "ratio", "p50"), ("unix", "cpu_ratio", "server CPU"), ("instance", "ratio", "time"),
              ("memory", "ratio", "memory"), ("throughput", "ratio", "server CPU"))
    for name, key, what in wanted:
        for t in tables:
            if t.name == name:
                for row, figures in t.rows.items():
                    if figures.get(key):
                        yield "%s, %s" % (row, what), figures[key]


def text(x, y, what, anchor="start", size=12):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>' % (x, y, anchor, size, html.escape(what))


def axis(bottom):
    for value in (0.01, 0.1, 1, 10):
        x = place(value)
        yield '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>' % (x, TOP - 6, x, bottom,
                                                                         "#333" if value == 1 else "#ccc")
        yield text(x, TOP - 10, "%g" % value, "middle", 11)


def svg(facts, tables):
    rows = list(bars(tables))
    height = TOP + ROW * len(rows) + 20
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">' %
           (LEFT + WIDTH + 80, height), '<rect width="100%" height="100%" fill="#fff"/>',
           text(10, 20, "vtpm-server / swtpm, less is better (1: the same)", size=15),
           text(10, 38, "%(date)s, %(machine)s" % facts, size=11)]
    out += axis(height - 16)
    for i, (label, value) in enumerate(rows):
        y, one, end = TOP + ROW * i, place(1), place(value)
        out.append(text(LEFT - 8, y + 14, label, "end"))
        out.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>' %
                   (min(one, end), y + 3, max(abs(end - one), 1), ROW - 6, GOOD if value <= 1 else BAD))
        out.append(text(max(one, end) + 5, y + 14, "%.3g" % value, size=11))
    return "\n".join(out + ["</svg>"]) + "\n"
