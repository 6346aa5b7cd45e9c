"""`scap-ov bundle`: what it writes and says, and that nothing is left of a refusal."""

from __future__ import annotations

import json
import tarfile

from small_llm import small_folder

from scap_ov.cli.main import main


def test_the_archive_holds_what_the_figures_say(tmp_path, capsys):
    stock, out, said = small_folder(tmp_path / "stock"), tmp_path / "edge.tar", tmp_path / "said.json"
    assert main(["bundle", str(stock), str(out), "--libraries", "list", "--json", str(said)]) == 0
    told = json.loads(said.read_text())
    assert told["bytes"] == out.stat().st_size
    with tarfile.open(out) as tar:
        held = {member.name.removeprefix("edge/"): member.size for member in tar.getmembers()}
    assert {file["name"]: file["bytes"] for file in told["files"]}.items() <= held.items()
    assert set(held) - {file["name"] for file in told["files"]} == {"README.md", "SHA256SUMS"}
    assert "libopenvino_intel_cpu_plugin.so" in [library["name"] for library in told["libraries"]]
    assert capsys.readouterr().out.startswith(f"{out}: ")


def test_an_archive_that_is_there_is_kept_without_overwrite(tmp_path, capsys):
    stock, out = small_folder(tmp_path / "stock"), tmp_path / "edge.tar"
    out.write_text("mine")
    command = ["bundle", str(stock), str(out), "--libraries", "list"]
    assert main(command) == 2
    assert out.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert tarfile.is_tarfile(out)


def test_refusals_are_one_line_and_leave_nothing(tmp_path, capsys):
    stock = small_folder(tmp_path / "stock")
    for words in ([str(stock), str(tmp_path / "x.zip")], [str(tmp_path / "none"), str(tmp_path / "x.tar")]):
        assert main(["bundle", *words]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["stock"]
