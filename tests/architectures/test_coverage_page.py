"""docs/coverage.md is of this registry: every row is in it, and none of it fails."""

from __future__ import annotations

from pathlib import Path

from architectures.rows import FAMILIES
from architectures.write_coverage import FAILED, SKIPPED, markdown, read

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def test_every_row_is_in_the_page():
    wanted = [row.title for rows in FAMILIES.values() for row in rows]
    page = PAGE.read_text(encoding="utf-8")
    assert [title for title in wanted if f"| {title} |" not in page] == []


def test_nothing_in_the_page_fails_or_was_not_run():
    page = PAGE.read_text(encoding="utf-8")
    assert FAILED not in page
    assert SKIPPED not in page


REPORT = """<testsuites><testsuite>
<testcase classname="t" name="a"><properties><property name="covers" value="Forms|one|works|" /></properties></testcase>
<testcase classname="t" name="b"><properties><property name="covers" value="Forms|two|works|no, because of that" /></properties></testcase>
<testcase classname="t" name="c"><properties><property name="covers" value="Forms|one|runs|" /></properties><failure /></testcase>
<testcase classname="t" name="d"><properties><property name="covers" value="Forms|one|runs|" /></properties></testcase>
<testcase classname="t" name="e"><properties><property name="covers" value="Forms|two|runs|" /></properties><skipped /></testcase>
</testsuite></testsuites>"""


def test_the_worst_of_a_cell_is_shown(tmp_path):
    (tmp_path / "r.xml").write_text(REPORT)
    tables = read([tmp_path / "r.xml"])
    assert set(tables) == {*FAMILIES, "Forms"}
    assert {"Forms": tables["Forms"]} == {"Forms": {"one": {"works": "yes", "note": "", "runs": FAILED},
                                "two": {"works": "no", "note": "no, because of that", "runs": SKIPPED}}}  # fmt: skip
    assert "| one | yes | **fails** |  |" in markdown(tables)


def test_a_later_report_counts(tmp_path):
    (tmp_path / "r.xml").write_text(REPORT)
    (tmp_path / "s.xml").write_text(REPORT.replace("<failure />", ""))
    assert read([tmp_path / "r.xml", tmp_path / "s.xml"])["Forms"]["one"]["runs"] == "yes"
