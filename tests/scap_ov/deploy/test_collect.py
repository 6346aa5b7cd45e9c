"""What goes into a bundle, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_llm import small_folder

from scap_ov.custom_ops import LIBRARY_NAME
from scap_ov.deploy.collect import collect
from scap_ov.deploy.device_readme import readme
from scap_ov.deploy.libraries import notices, system_needs
from scap_ov.errors import BadModelError, ExtensionError, OutputError, UsageError

LOWERED = Path(__file__).parents[2] / "golden" / "i4-lowered"


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return small_folder(tmp_path_factory.mktemp("bundle") / "stock")


def names(bundle):
    return {member.name for member in bundle.members}


def test_a_lowered_model_brings_the_extension_library_and_a_stock_one_does_not(stock, tmp_path):
    sparse = collect(LOWERED, tmp_path / "x.tar")
    assert {"model/openvino_model.xml", "model/openvino_model.bin", "runner/run.cpp", "runner/CMakeLists.txt"} <= names(sparse)
    assert {f"lib/{library.path.name}" for library in sparse.libraries} <= names(sparse)
    assert sparse.needs_extension
    assert f"lib/{LIBRARY_NAME}" in names(sparse)
    assert "licenses/openvino/LICENSE" in names(sparse)
    dense = collect(stock, tmp_path / "x.tar")
    assert not dense.needs_extension
    assert f"lib/{LIBRARY_NAME}" not in names(dense)


def test_libraries_can_be_listed_in_place_of_copied(tmp_path):
    bundle = collect(LOWERED, tmp_path / "x.tar", libraries="list")
    assert not [name for name in names(bundle) if name.startswith(("lib/", "licenses/"))]
    page = readme(bundle)
    for library in bundle.libraries:
        assert f"| {library.path.name} | {library.path.stat().st_size:,} | {library.package} {library.version} |" in page
    assert "put them into `lib`" in page or not bundle.runs_text


def test_the_readme_names_every_file_with_its_size(stock, tmp_path):
    bundle = collect(stock, tmp_path / "x.tar", libraries="list")
    page = readme(bundle)
    for member in bundle.members:
        assert f"| {member.name} | {member.size:,} |" in page
    assert f"glibc {bundle.system['GLIBC']} or newer" in page


def test_what_a_library_asks_of_the_system_is_read_from_it():
    contents = [b"\0GLIBC_2.4\0GLIBC_2.17\0GLIBC_PRIVATE\0", b"\0GLIBCXX_3.4\0GLIBCXX_3.4.9\0GLIBC_2.9\0"]
    assert system_needs(contents) == {"GLIBC": "2.17", "GLIBCXX": "3.4.9"}


def test_licences_of_a_package_that_is_not_there_are_none():
    assert notices("no-such-package-of-ours") == []


def test_what_would_not_run_is_refused(stock, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="libraries is 'all'; give one of copy, list"):
        collect(stock, tmp_path / "x.tar", libraries="all")
    with pytest.raises(OutputError, match="inside the model's folder"):
        collect(stock, stock / "x.tar")
    with pytest.raises(BadModelError, match="no file or folder"):
        collect(tmp_path / "none", tmp_path / "x.tar")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UsageError, match="is an ONNX model"):
        collect(tmp_path / "model.onnx", tmp_path / "x.tar")
    monkeypatch.setenv("SCAP_OV_EXTENSION", str(tmp_path / "none.so"))
    with pytest.raises(ExtensionError, match="which is no file"):
        collect(LOWERED, tmp_path / "x.tar")


def test_a_name_that_is_not_safe_is_refused(tmp_path):
    folder = small_folder(tmp_path / "stock")
    (folder / "a\nb.json").write_text("{}")
    with pytest.raises(BadModelError, match=r"'model/a\\nb.json' is not safe"):
        collect(folder, tmp_path / "x.tar", libraries="list")
