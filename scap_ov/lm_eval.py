"""lm-evaluation-harness on a pruned folder: `python -m scap_ov.lm_eval --model_args pretrained=sparse --tasks arc_easy`.

`lm_eval --model openvino` cannot read our op, for it loads models with optimum-intel's Core and has no option for extensions. This
registers the library there and hands the rest to lm_eval. Whole sequences are scored in one pass, so SCAP_OV_ROWS is `all` unless it is
set: long steps run dense otherwise, and the stock model would be measured. SCAP_OV_LEVEL chooses the level of a model with several.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from scap_ov.optional import optional


def main(arguments: Sequence[str] | None = None) -> None:
    """Run lm_eval with the model type openvino on our folders.

    :param arguments: of lm_eval, but for --model; those of the command line by default.
    :raises MissingDependencyError: lm_eval or optimum-intel is not installed.
    """
    os.environ.setdefault("SCAP_OV_ROWS", "all")
    from scap_ov.runtime import register

    command = optional("lm_eval.__main__", "evaluating tasks", "'scap_ov[lm-eval]'")
    register(optional("optimum.intel.openvino.modeling_base", "evaluating tasks", "'scap_ov[export]'").core)
    given = list(sys.argv[1:] if arguments is None else arguments)
    device = [] if "--device" in given else ["--device", "cpu"]  # lm_eval's own default is cuda
    sys.argv = ["lm_eval", "run", "--model", "openvino", *device, *given]
    command.cli_evaluate()


if __name__ == "__main__":
    main()
