"""Write a model's .xml and .bin with constants on 64-byte boundaries, large ones on pages.

`ov.save_model` puts constants at arbitrary offsets and the CPU plugin maps them as they lie, so that every 64-byte load of a
weight row would cross a cache line (aligned weights decode 11 % faster, ADR 0001). The .xml's offsets are free to choose: OpenVINO
writes the .xml, with a .bin that goes nowhere, and the constants are written from where they lie in memory, each once. Where the .xml does
not say plainly which constant is which, OpenVINO writes the .bin too, and it is copied.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import openvino as ov

from scap_ov.atomic import scratch_folder
from scap_ov.errors import OutputError, reason_of
from scap_ov.mapped_pages import let_go
from scap_ov.passes.openvino.aligned import PAGE
from scap_ov.passes.openvino.joined_constant import JoinedConstant
from scap_ov.storage.large_file import large_file

_Data: TypeAlias = "np.ndarray | JoinedConstant"  # bytes of a constant

ALIGNMENT = 64  # a cache line, and the widest vector load
_PAGES = 1 << 20  # bytes; constants from here on begin with a page
_LARGE = 16 << 20  # bytes; constants from here on do not stay in memory where they are pages of a file, and are compared in pieces
_LOOKED_AT = 64  # bytes of a constant that differ in most constants that do
_CONSTANT = re.compile(r'(<data element_type="[^"]*" shape="[^"]*" )offset="(\d+)" size="(\d+)"')
_NAMED = re.compile(
    r'<layer id="\d+" name="([^"]*)" type="Const"[^>]*>\s*<data element_type="([^"]*)" shape="[^"]*" offset="\d+" size="(\d+)"'
)


def save_aligned(model: ov.Model, xml: Path, unfilled: Mapping[str, JoinedConstant] | None = None) -> None:
    """Write `xml` and the .bin beside it. Nothing is compressed to f16: logits do not change.

    :param model: any model; it is not modified.
    :param unfilled: constants of it, by their names, that are written from their parts.
    :param xml: target, ending in .xml; its folder exists. An existing file is replaced only when the new one is complete.
    :raises OutputError: the files could not be written completely, for example on a full disk; then neither exists.
    """
    xml = Path(os.path.realpath(xml))
    try:
        with scratch_folder(xml) as scratch:
            new = scratch / "new.xml"
            described = _described(model, scratch / "described", unfilled or {})
            if described is None:
                for constant in (unfilled or {}).values():
                    constant.fill()
            text, constants = described or _written(model, scratch / "raw.xml")
            _write(text, constants, new)
            os.replace(new.with_suffix(".bin"), xml.with_suffix(".bin"))
            os.replace(new, xml)
    except (OSError, RuntimeError) as e:
        msg = f"writing {xml.name} in {xml.parent} failed ({reason_of(e)}); free some space or choose another folder"
        raise OutputError(msg) from e


def _described(model: ov.Model, folder: Path, unfilled: Mapping[str, JoinedConstant]) -> tuple[str, list[_Data]] | None:
    """The text of the .xml and the bytes of its constants in their order, from memory; None where it is not plain which is which."""
    folder.mkdir()
    raw = folder / "raw.xml"
    raw.with_suffix(".bin").symlink_to(os.devnull)  # a link: OpenVINO removes what it could not write completely
    ov.save_model(model, str(raw), compress_to_fp16=False)
    text = _text(raw)
    named = _NAMED.findall(text)
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    if len(named) != len(nodes) or len(named) != len(_CONSTANT.findall(text)):  # constants of the bodies of If and Loop
        return None
    found: list[_Data] = []
    for node, (name, dtype, size) in zip(nodes, named, strict=True):
        if dtype != node.get_element_type().get_type_name() or html.unescape(name) != node.get_friendly_name():
            return None
        if node.get_friendly_name() in unfilled:
            found.append(unfilled[node.get_friendly_name()])
            continue
        data = np.asarray(node.data) if dtype != "string" else np.zeros(0, np.uint8)
        if data.nbytes != int(size) or not data.flags.c_contiguous:
            return None
        found.append(data.reshape(-1).view(np.uint8))
    return text, found


def _written(model: ov.Model, raw: Path) -> tuple[str, list[_Data]]:
    """The same from a .bin that OpenVINO wrote."""
    ov.save_model(model, str(raw), compress_to_fp16=False)
    text = _text(raw)
    file = raw.with_suffix(".bin")
    available = file.stat().st_size if file.exists() else 0
    data = np.memmap(file, np.uint8, "r") if available else np.zeros(0, np.uint8)
    found: list[_Data] = []
    for _, offset, size in _CONSTANT.findall(text):
        if int(offset) + int(size) > available:
            msg = f"the .bin is incomplete at {available} bytes, so the disk may be full"
            raise OSError(msg)
        found.append(data[int(offset) : int(offset) + int(size)])
    return text, found


def _text(xml: Path) -> str:
    text = xml.read_text(encoding="utf-8")
    if not text.rstrip().endswith("</net>"):
        msg = "the .xml is incomplete, so the disk may be full"
        raise OSError(msg)
    return text


def _write(text: str, constants: Sequence[_Data], target: Path) -> None:
    """Write an .xml/.bin pair with constants where `_boundary` has them begin; equal constants are stored once.

    :param constants: bytes of each, in the order of the .xml.
    """
    first, places = _first_equal(constants), list[int]()
    size = sum(data.size for number, data in enumerate(constants) if first[number] == number)
    with large_file(target.with_suffix(".bin"), size) as out:
        for number, (own, data) in enumerate(zip(first, constants, strict=True)):
            if own < number:
                places.append(places[own])
                continue
            step = _boundary(data.size)
            out.fill_to(-(-out.size // step) * step)
            places.append(out.size)
            for piece in data.pieces() if isinstance(data, JoinedConstant) else [data]:
                out.write(piece)
                if piece.size >= _LARGE:
                    let_go(piece)
    place_of = iter(places)
    with target.open("w", encoding="utf-8", newline="\n") as out_text:
        out_text.write(_CONSTANT.sub(lambda match: f'{match[1]}offset="{next(place_of)}" size="{match[3]}"', text))
        out_text.flush()
        os.fsync(out_text.fileno())


def _boundary(size: int) -> int:
    """Where a constant of `size` bytes may begin: at multiples of this many bytes."""
    if size < ALIGNMENT:
        return 8  # never read by a kernel
    return PAGE if size >= _PAGES else ALIGNMENT


def _first_equal(constants: Sequence[_Data]) -> list[int]:
    """Of each constant the first that holds the same bytes, itself where there is none before it, or where it is made of parts."""
    seen: dict[tuple[int, bytes], list[int]] = {}
    found = []
    for number, data in enumerate(constants):
        if isinstance(data, JoinedConstant):
            found.append(number)
            continue
        some = data[:: max(1, data.size // _LOOKED_AT)].tobytes()
        alike = seen.setdefault((data.size, some), [])
        same = next((other for other in alike if _equal(constants[other], data)), number)
        if same == number:
            alike.append(number)
        found.append(same)
    return found


def _equal(one: _Data, other: np.ndarray) -> bool:
    if isinstance(one, JoinedConstant):
        return False
    return one.ctypes.data == other.ctypes.data or all(
        np.array_equal(one[start : start + _LARGE], other[start : start + _LARGE]) for start in range(0, one.size, _LARGE)
    )
