"""Every artefact says its version, and one of a newer scap_ov is refused by name. Ops: custom_ops/test_op_version.py."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import scap_ov
from scap_ov.calibration.checkpoint import Checkpoint
from scap_ov.cli.main import main
from scap_ov.errors import ScapError
from scap_ov.storage.model_folder import read_model
from scap_ov.storage.rt_info import read_record

GOLDEN = Path(__file__).parent / "golden"


def of_version(source: Path, target: Path, mark: str, version: object) -> Path:
    """A safetensors file whose notes say another version."""
    with safe_open(str(source), framework="numpy") as f:
        notes = json.loads(f.metadata()[mark])
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - safe_open is no mapping
    save_file(tensors, str(target), metadata={mark: json.dumps({**notes, "version": version})})
    return target


def plan(folder: Path, version: object) -> None:
    scap_ov.SparsityPlan.load(of_version(GOLDEN / "plan.safetensors", folder / "plan", "scap_ov_plan", version))


def profile(folder: Path, version: object) -> None:
    (folder / "given").write_bytes(gzip.decompress((GOLDEN / "profile.safetensors.gz").read_bytes()))
    scap_ov.CalibrationProfile.load(of_version(folder / "given", folder / "profile", "scap_ov_profile", version))


def checkpoint(folder: Path, version: object) -> None:
    Checkpoint(folder / "given", ["key"]).put({"a": np.zeros(1)})
    Checkpoint(of_version(folder / "given", folder / "check", "scap_ov_checkpoint", version), ["key"])


def config(folder: Path, version: object) -> None:
    scap_ov.SparsityConfig.from_dict({"version": version})


def record(folder: Path, version: object) -> None:
    shutil.copytree(GOLDEN / "decoder", folder / "model")
    xml = folder / "model" / "openvino_model.xml"
    text = xml.read_text()
    assert text.count('<version value="1" />') == 1
    xml.write_text(text.replace('<version value="1" />', f'<version value="{version}" />'))
    read_record(read_model(folder / "model"))


ARTEFACTS = {"plan": plan, "profile": profile, "checkpoint": checkpoint, "config": config, "record": record}


@pytest.mark.parametrize("read", ARTEFACTS.values(), ids=ARTEFACTS)
@pytest.mark.parametrize("version", [99, 0, -3])
def test_a_version_that_is_not_known_is_refused(read: Callable[[Path, object], None], version: int, tmp_path: Path) -> None:
    with pytest.raises(ScapError, match="version") as told:
        read(tmp_path, version)
    assert str(version) in str(told.value)


def test_figures_say_their_version(tmp_path: Path) -> None:
    assert main(["inspect", str(GOLDEN / "decoder"), "--json", str(tmp_path / "figures")]) == 0
    assert json.loads((tmp_path / "figures").read_text())["format_version"] == 1
