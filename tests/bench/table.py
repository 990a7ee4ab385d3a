# SPDX-License-Identifier: Apache-2.0
"""What a run of the bench found: tables whose rows are known before, so that one that is missing is noticed."""
import json


def plain(value, digits=3):
    """Three digits that count, thousands set apart."""
    if value is None:
        return "?"
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return "{:,.0f}".format(value)
    return ("%%.%dg" % digits) % value


class Column:
    """scale: what a value is multiplied by to be shown under this heading. optional: may be without a number."""

    def __init__(self, key, heading, scale=1, optional=False):
        self.key, self.heading, self.scale, self.optional = key, heading, scale, optional

    def show(self, value):
        if value is None and self.optional:
            return ""
        return plain(value * self.scale if isinstance(value, (int, float)) and not isinstance(value, bool) else value)


def us(key, heading, optional=False):
    """Microseconds."""
    return Column(key, heading, 1e6, optional)


class Table:
    """rows: the names that must be there when the run is over; figures: {name: {column's key: number}}."""

    def __init__(self, name, title, columns, rows, first="", note=""):
        self.name, self.title, self.columns, self.first, self.note = name, title, columns, first, note
        self.rows = {row: {} for row in rows}

    def put(self, row, **figures):
        if row not in self.rows:
            raise AssertionError("table %s has no row %s" % (self.name, row))
        self.rows[row].update(figures)

    def get(self, row, key):
        return self.rows.get(row, {}).get(key)

    def missing(self):
        """What has no number although it must."""
        for row, figures in self.rows.items():
            for column in self.columns:
                value = figures.get(column.key)
                is_number = isinstance(value, (int, float)) and value == value and value not in (float("inf"), -float("inf"))
                if not is_number and not isinstance(value, str) and not (column.optional and value is None):
                    yield "%s, %s: %s" % (self.name, row, column.heading)

    def cells(self):
        yield [self.first] + [c.heading for c in self.columns]
        for row, figures in self.rows.items():
            yield [row] + [c.show(figures.get(c.key)) for c in self.columns]

    def text(self):
        lines = list(self.cells())
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        out = [self.title]
        for line in lines:
            out.append("  " + line[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(line[1:], widths[1:])))
        return "\n".join(out + ([self.note] if self.note else [])) + "\n"

    def markdown(self):
        lines = list(self.cells())
        out = ["### " + self.title, "", "| " + " | ".join(lines[0]) + " |", "|" + "---|" + "---:|" * len(self.columns)]
        out += ["| " + " | ".join(line) + " |" for line in lines[1:]]
        return "\n".join(out + ["", self.note] if self.note else out) + "\n"

    def data(self):
        return {"title": self.title, "note": self.note, "rows": self.rows}


def to_json(about, tables):
    return json.dumps({"about": about, "tables": {t.name: t.data() for t in tables}}, indent=1) + "\n"
