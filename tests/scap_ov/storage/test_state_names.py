"""A model whose variable has lost its name is refused before OpenVINO reads it, which would end the process."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from small_llm import small_folder

from scap_ov.errors import BadModelError
from scap_ov.storage.model_folder import read_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("state") / "stock")


@pytest.mark.parametrize("kind", ["ReadValue", "Assign"])
@pytest.mark.parametrize("left", ["", 'variable_id="" '])
def test_a_variable_without_a_name_is_told(folder: Path, tmp_path: Path, kind: str, left: str) -> None:
    shutil.copytree(folder, tmp_path / "model")
    xml = tmp_path / "model" / "openvino_model.xml"
    named = re.compile(rf'(type="{kind}"[^>]*>\s*<data )variable_id="[^"]*" ')
    damaged, count = named.subn(rf"\1{left}", xml.read_text(), count=1)
    assert count == 1
    xml.write_text(damaged)
    with pytest.raises(BadModelError, match=rf"a {kind} in it names no variable"):
        read_model(tmp_path / "model")


def test_a_whole_model_is_read(folder: Path) -> None:
    assert read_model(folder).get_sinks()
