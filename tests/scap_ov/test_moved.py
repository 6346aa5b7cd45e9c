"""Old import paths go on working, and say where the module is now."""

from __future__ import annotations

import importlib
import sys

import pytest

from scap_ov._moved import MOVED


@pytest.mark.parametrize("old", [old for old, homes in MOVED.items() if homes])
def test_an_old_path_gives_the_names_of_the_new_module_and_warns(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=MOVED[old][0].replace(".", r"\.")):
        stand_in = importlib.import_module(old)
    for home in MOVED[old]:
        new = importlib.import_module(home)
        defined = [name for name, value in vars(new).items() if getattr(value, "__module__", None) == home]
        assert all(getattr(stand_in, name) is getattr(new, name) for name in defined)


def test_names_that_went_apart_are_all_found_under_the_old_path() -> None:
    sys.modules.pop("scap_ov.calibration.run_openvino", None)
    with pytest.warns(DeprecationWarning, match="import from there"):
        from scap_ov.calibration.run_openvino import EXACT, gate_activation, observe
    assert EXACT["INFERENCE_PRECISION_HINT"] == "f32"
    assert (observe.__module__, gate_activation.__module__) == (
        "scap_ov.calibration.observe",
        "scap_ov.passes.openvino.gate_activation",
    )


@pytest.mark.filterwarnings("ignore:.*import from there")
def test_a_name_that_is_nowhere_is_told_with_the_new_path() -> None:
    with pytest.raises(ImportError, match="there_is_no_such_name"):
        from scap_ov.demo.reading import there_is_no_such_name  # noqa: F401


def test_no_old_path_is_a_module_of_today() -> None:
    for old in MOVED:
        spec = importlib.machinery.PathFinder.find_spec(old, importlib.import_module(old.rpartition(".")[0]).__path__)
        assert spec is None or spec.origin is None, old
