"""Write docs/coverage.md from the report of a test run.

python -m pytest -m "slow or not slow" tests/architectures --junitxml=build/coverage.xml
python tests/architectures/write_coverage.py build/coverage.xml docs/coverage.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

sys.path.insert(0, str(Path(__file__).parent))
from rows import FAMILIES

INTRODUCTION = """# Coverage

`make coverage` writes this page from a test run (`tests/architectures`); do not edit it. Models of two blocks with random weights,
exported by optimum-intel and compressed by NNCF as `optimum-cli` does it. What the columns say:

- *sites*: the sites found are exactly those that `tests/architectures/rows.py` lists, and other layers are stock for the reason listed.
- *exact at 0 %*: the lowered model's logits equal the stock model's within float32 rounding, int8 activations off on both sides.
- *portable = lowered at 50 %*: after `apply` at 50 % both forms agree, prompt and decode steps, one and two sequences.
- *generates*: both forms continue a prompt greedily with the same tokens.
- *raise_*, *openvino-genai*, *optimum-intel*: of routed experts. The lowered model goes back to the portable one bit for bit, and to a
  stock model in which the CPU plugin recognises the experts; both forms generate the same tokens there, with both attention back ends.
- –: does not apply, or was not in the run that this page was written from.

The rows of *Real weights* are exported by `optimum-cli export openvino --weight-format int8` and pruned by the default method, every
row but the first of a window, calibrated on one half of a text (Python's documentation, in the standard library) and measured on the
other. Behind a perplexity stands the sparsity that was measured with it.

Encoders and vision models have many rows in one step. Their pruned rows are masked and the product is computed dense, so pruning by itself
saves them no time, whatever the sparsity: the tables of 512 rows in [benchmarks.md](benchmarks.md) show both columns alike.

More on quality and on speed with real weights: [quality.md](quality.md) and [benchmarks.md](benchmarks.md).
"""
YES, FAILED, SKIPPED = "yes", "**fails**", "not run"
CHECKS = ("sites", "exact at 0 %", "portable = lowered at 50 %", "generates")


def read(reports: list[Path]) -> dict[str, dict[str, dict[str, object]]]:
    """table -> row -> column -> outcome; `note` is among the columns. Rows of the registry are there whether they ran or not."""
    tables: dict[str, dict[str, dict[str, object]]] = {
        family: {row.title: {"note": row.remark} for row in rows} for family, rows in FAMILIES.items()
    }
    cases = {(case.get("classname"), case.get("name")): case for report in reports for case in ET.parse(report).getroot().iter("testcase")}
    for case in cases.values():
        outcome = FAILED if case.find("failure") is not None or case.find("error") is not None else YES
        outcome = SKIPPED if case.find("skipped") is not None else outcome
        for entry in case.iter("property"):
            if entry.get("name") == "covers":
                table, row, column, note = entry.get("value", "").split("|")
                cells = tables.setdefault(table, {}).setdefault(row, {})
                cells[column] = worst(cells.get(column, YES), "no" if outcome == YES and note.startswith("no, because") else outcome)
                cells["note"] = note or cells.get("note", "")
            elif entry.get("name") == "figure":
                table, row, column, value = entry.get("value", "").split("|")
                tables.setdefault(table, {}).setdefault(row, {})[column] = value if outcome == YES else FAILED
    return tables


def worst(one: object, other: object) -> object:
    """Of two outcomes of one cell."""
    return next((outcome for outcome in (FAILED, SKIPPED, "no") if outcome in (one, other)), YES)


def markdown(tables: dict[str, dict[str, dict[str, object]]]) -> str:
    """The page."""
    parts = [INTRODUCTION]
    for table, rows in tables.items():
        ran = dict.fromkeys(column for cells in rows.values() for column in cells if column != "note")
        columns = (*CHECKS, *(column for column in ran if column not in CHECKS)) if table in FAMILIES else tuple(ran)
        notes = any(cells.get("note") for cells in rows.values())
        head = ["", *columns, *(["note"] if notes else [])]
        lines = [f"## {table}\n", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for row, cells in rows.items():
            shown = [row, *(str(cells.get(column, "–")) for column in columns), *([str(cells.get("note") or "")] if notes else [])]
            lines.append(f"| {' | '.join(shown)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[-1]).write_text(markdown(read([Path(report) for report in sys.argv[1:-1]])), encoding="utf-8")
