"""Export OLMoE to OpenVINO, which optimum-intel 2.2 has no configuration for. Takes what `optimum-cli export openvino` takes.

python examples/export_olmoe.py --model allenai/OLMoE-1B-7B-0924-Instruct --weight-format int8 stock
scap-ov apply stock faster --target-sparsity 0

Attention is that of a Llama with norms of q and k, which a trace follows. The experts are written as optimum-intel writes those of
Qwen3-MoE: every token through every expert, weighted by a routing that is 0 but for the chosen ones. OpenVINO's CPU plugin and scap_ov both
recognise that and compute the chosen ones only. transformers' own loop over the experts that were hit cannot be traced.
"""

from __future__ import annotations

import sys

from optimum.exporters.openvino.model_configs import LlamaOpenVINOConfig
from optimum.exporters.openvino.model_patcher import OVDecoderModelPatcher, lfm2_moe_experts_forward
from optimum.exporters.tasks import TasksManager
from transformers.models.olmoe.modeling_olmoe import OlmoeExperts


class OlmoeModelPatcher(OVDecoderModelPatcher):
    """Experts in a form that can be traced, while the model is exported."""

    def __enter__(self) -> None:
        """Put the other form in."""
        super().__enter__()
        self._forward = OlmoeExperts.forward
        OlmoeExperts.forward = lfm2_moe_experts_forward

    def __exit__(self, *raised: object) -> None:
        """Take it out again."""
        super().__exit__(*raised)
        OlmoeExperts.forward = self._forward


@TasksManager.create_register("openvino", overwrite_existing=True)(
    "olmoe", "text-generation", "text-generation-with-past", library_name="transformers"
)
class OlmoeOpenVINOConfig(LlamaOpenVINOConfig):
    """What the exporter is told about OLMoE."""

    _MODEL_PATCHER = OlmoeModelPatcher


def main() -> None:
    """Run optimum-cli, which knows OLMoE now."""
    from optimum.commands.optimum_cli import main as optimum_cli

    sys.argv = ["optimum-cli", "export", "openvino", *sys.argv[1:]]
    optimum_cli()


if __name__ == "__main__":
    main()
