"""What a device needs to run a model: the model's folder, libraries, the runner, licences and a README.

All of it stands below one folder, named after the archive: README.md (what is here, of what size, how to run it) and SHA256SUMS; model/,
the complete model folder; lib/, OpenVINO, TBB, its tokenizers and the extension library; bin/, the runner where it was compiled, and
runner/, its source; include/, the C header of levels; licenses/.
"""

from __future__ import annotations

from dataclasses import dataclass

from scap_ov.custom_ops import LIBRARY_NAME
from scap_ov.deploy.archive import Member
from scap_ov.deploy.libraries import Library
from scap_ov.storage.companions import Companions
from scap_ov.storage.model_files import MODEL_FILE

TOKENIZERS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")


@dataclass(frozen=True)
class Bundle:
    """What goes into an archive, and what was found out on the way.

    :param name: of the archive's top folder.
    :param members: the files, README and sums apart.
    :param libraries: that the model needs, copied or not.
    :param copied: whether they are among the members.
    :param system: the oldest glibc and libstdc++ that will do.
    :param beside: what lay beside the model and was left out, with the reason.
    """

    name: str
    members: tuple[Member, ...]
    libraries: tuple[Library, ...]
    copied: bool
    system: dict[str, str]
    beside: Companions

    @property
    def has_runner(self) -> bool:
        """Whether the program is in it."""
        return any(member.executable for member in self.members)

    @property
    def runs_text(self) -> bool:
        """Whether the runner can continue a text with this model: a language model with its tokenizers."""
        return {f"model/{name}" for name in (MODEL_FILE, *TOKENIZERS)} <= {member.name for member in self.members}

    @property
    def needs_extension(self) -> bool:
        """Whether a model in it has ops of ours."""
        return any(library.path.name == LIBRARY_NAME for library in self.libraries)
