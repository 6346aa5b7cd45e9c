"""Where a pruned model goes: a new folder with what lies beside the stock model, or a file of its own. Checked first, written last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scap_ov.atomic import new_folder
from scap_ov.errors import OutputError
from scap_ov.storage.companions import Companions, companions
from scap_ov.storage.model_files import model_file
from scap_ov.storage.outputs import check_files, check_folder

_KINDS = {".xml": "an OpenVINO model", ".onnx": "an ONNX model"}


@dataclass(frozen=True)
class Destination:
    """A place that has been checked.

    :param path: the folder, or the file.
    :param name: the model's file name in the folder: that of the stock model.
    :param beside: what is copied into the folder; None where `path` is a file.
    :param overwrite: what is there may be replaced.
    """

    path: Path
    name: str
    beside: Companions | None
    overwrite: bool

    @property
    def file(self) -> Path:
        """The model's file, once it is written."""
        return self.path if self.beside is None else self.path / self.name

    def write(self, save: Callable[[Path], None], note: Callable[[Path], None]) -> None:
        """Write it, complete or not at all.

        :param save: writes the model to the path that it is given.
        :param note: writes scap_config.json into the folder that it is given; a file goes without, for its record is inside.
        :raises OutputError: writing failed.
        """
        if self.beside is None:
            save(self.path)
            return
        with new_folder(self.path, replace=self.overwrite) as scratch:
            self.beside.copy(scratch)
            save(scratch / self.name)
            note(scratch)


def destination(given: str | Path, output: str | Path, own: Sequence[Path], *, overwrite: bool = False) -> Destination:
    """Check where a model made from another one is to go.

    1. An output that ends as the model file does (.xml, .onnx), and is no folder, is a file.
    2. Everything else is a folder: new, empty, or with `overwrite` one that scap_ov wrote.

    :param given: the stock model as the user gave it, a folder or a file.
    :param own: its own files, which are not copied.
    :raises OutputError: the output cannot be written, or is inside the folder that is copied.
    :raises BadModelError: something beside the stock model cannot be read.
    """
    stock, output = model_file(given), Path(output)
    suffix = output.suffix.lower()
    if suffix in _KINDS and not output.is_dir():
        if suffix != stock.suffix.lower():
            kind = _KINDS[stock.suffix.lower()]
            msg = f"{output} is the name of {_KINDS[suffix]}, and {stock.name} is {kind}; give a folder, or a file {stock.suffix}"
            raise OutputError(msg)
        files = [output, output.with_suffix(".bin")] if suffix == ".xml" else [output]
        check_files({f"output {f.suffix}": f for f in files}, overwrite=overwrite, inputs={f"model ({f.name})": f for f in own})
        return Destination(output, output.name, None, overwrite)
    beside = companions(stock, own, alone=Path(given).is_file())
    weights = sum(path.stat().st_size for path in own if path.is_file())
    check_folder(output, source=beside.folder, overwrite=overwrite, size=beside.size + weights)
    return Destination(output, stock.name, beside, overwrite)
