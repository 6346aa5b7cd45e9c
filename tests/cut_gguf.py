"""The first blocks of a GGUF file of a Llama, as a file: real tokenizer and weights at a fraction of the size. It writes nonsense."""

from __future__ import annotations

import struct
from pathlib import Path

from scap_ov.sample_models import gguf_weights

_ALIGN = 32


def cut_gguf(source: Path, target: Path, blocks: int) -> Path:
    """Write `target`: metadata of the source with another number of blocks, and the tensors of these alone, byte for byte."""
    whole = source.read_bytes()
    with source.open("rb") as file:
        magic, version, tensors, entries = struct.unpack("<4sIQQ", file.read(24))
        known = []
        for _ in range(entries):
            start = file.tell()
            name, _ = gguf_weights._entry(file)
            entry = whole[start : file.tell()]
            known.append(entry[:-4] + struct.pack("<I", blocks) if name == "llama.block_count" else entry)
        infos = [gguf_weights._info(file) for _ in range(tensors)]
        data = whole[-(-file.tell() // _ALIGN) * _ALIGN :]
    ends = [*sorted(offset for *_, offset in infos)[1:], len(data)]
    end_of = dict(zip(sorted(offset for *_, offset in infos), ends, strict=True))
    header, kept = b"".join(known), b""
    infos = [info for info in infos if not info[0].startswith("blk.") or int(info[0].split(".")[1]) < blocks]
    for name, dims, kind, offset in infos:
        text = name.encode()
        header += struct.pack(f"<Q{len(text)}sI{len(dims)}QIQ", len(text), text, len(dims), *dims, kind, len(kept))
        kept += data[offset : end_of[offset]]
    header = struct.pack("<4sIQQ", magic, version, len(infos), entries) + header
    target.write_bytes(header + bytes(-len(header) % _ALIGN) + kept)
    return target
