"""Write the table of gains over rows in one step into a page, from the JSON of `kernel.py --rows`.

python benchmarks/rows_page.py bench_output docs/benchmarks.md

It reads rows*.json of the folder and writes between the page's lines `<!-- rows: begin -->` and `<!-- rows: end -->`, at the page's end
where there are none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page_section import put_section

BEGIN, END = "<!-- rows: begin -->", "<!-- rows: end -->"
_FLOORS = {"avx512_zen4": 1.0, "avx512_vnni": 1.0, "avx512_amx": 1.0, "avx_vnni": 0.95, "avx2": 0.95}  # of 5 rows and more
_FEW = 4  # rows: fewer than 5 have floors of their own


def main() -> None:
    """Read, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of rows*.json")
    parser.add_argument("target", type=Path, help="page to write into")
    args = parser.parse_args()
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.results.glob("rows*.json"))]
    if not files:
        msg = f"{args.results} holds no rows*.json; run `make bench`"
        raise SystemExit(msg)
    put_section(args.target, [BEGIN, *section(files), END])
    print(f"wrote the rows of {args.target}", file=sys.stderr)


def section(files: Sequence[dict[str, Any]]) -> list[str]:
    """One table for each implementation and precision: a line a site, form and share, a column a number of rows."""
    machines = ", ".join(dict.fromkeys(file["machine"] for file in files))
    lines = [f"## One site over rows in a step ({machines})", "", _ABOUT, ""]
    every = [{**entry, "hint": file["hint"] or "stock's default"} for file in files for entry in file["results"]]
    for kernels, hint in dict.fromkeys((entry["implementation"], entry["hint"]) for entry in every):
        own = [entry for entry in every if (entry["implementation"], entry["hint"]) == (kernels, hint)]
        lines += [f"Kernels {kernels}, precision {hint}:", "", *_table(own), "", _below(own, _FLOORS.get(kernels, 1.0)), ""]
    return lines


_ABOUT = (
    "Ratio of stock's time to ours, median of runs that stood side by side (`benchmarks/kernel.py --rows`). Rows that are more than the "
    "four of the default are computed dense, whatever the share. `graded D/H` drops D % of the channels and reads H % by half. Stock runs "
    "on all that the CPU has in every table: our kernels can be held to an older instruction set, it cannot."
)


def _table(entries: Sequence[dict[str, Any]]) -> list[str]:
    counts = sorted({entry["rows"] for entry in entries})
    lines = [f"| site | {' | '.join(map(str, counts))} |", f"|---|{'--:|' * len(counts)}"]
    for name in dict.fromkeys(_name(entry) for entry in entries):
        at = {entry["rows"]: f"{entry['speedup']:.2f}" for entry in entries if _name(entry) == name}
        lines.append(f"| {name} | {' | '.join(at.get(count, '') for count in counts)} |")
    return lines


def _name(entry: dict[str, Any]) -> str:
    share = f"{entry['sparsity']:.0%}" if "sparsity" in entry else f"graded {100 * entry['dropped']:.0f}/{100 * entry['half']:.0f}"
    return f"{entry['weights']} {entry['k']} → {entry['n']}, {share}"


def _below(entries: Sequence[dict[str, Any]], floor: float) -> str:
    many = [entry for entry in entries if entry["rows"] > _FEW]
    missed = sorted((entry for entry in many if entry["speedup"] < floor), key=lambda entry: float(entry["speedup"]))
    if not missed:
        return f"Of {len(many)} cases with 5 rows and more none is below {floor:.2f}."
    worst = "; ".join(f"{_name(entry)}, {entry['rows']} rows: {entry['speedup']:.2f}" for entry in missed[:5])
    return f"Of {len(many)} cases with 5 rows and more {len(missed)} are below {floor:.2f}, the lowest: {worst}."


if __name__ == "__main__":
    main()
