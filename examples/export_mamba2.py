"""Export a Mamba 2 model of transformers to OpenVINO with a scan of any length, which optimum-intel 2.2 has no export for.

python examples/export_mamba2.py AntonV/mamba2-130m-hf stock
scap-ov apply stock --data text.txt --target-sparsity 0.4 --output sparse

The scan of transformers is cut into chunks whose number a trace bakes in. Here it is one chunk of whatever length arrives, the masked
attention form of the state space duality (Dao and Gu, arXiv 2405.21060, section 3): y = (L ∘ C Bᵀ) x with L[t, s] = exp(Σ a over s … t).
Its memory grows with the square of the length. The model has no state: text goes in, logits of every position come out, for `apply`, `eval`
and programs that score text; openvino-genai and optimum-intel want a state and do not generate with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer


def scan(x: torch.Tensor, dt: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The state space layer over whole sequences, without a skip connection.

    :param x: inputs [B, T, H, P].
    :param dt: time steps [B, T, H].
    :param a: decay rates [H], negative.
    :param b: into the state, [B, T, H, N].
    :param c: out of it, [B, T, H, N].
    :return: [B, T, H, P].
    """
    total = torch.cumsum((dt * a).transpose(1, 2), dim=-1)  # [B, H, T]
    time = torch.arange(x.shape[1])
    past = time[:, None] >= time[None, :]
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~past, float("-inf")).exp()
    weight = decay * (c.transpose(1, 2) @ b.permute(0, 2, 3, 1))
    return (weight @ (x * dt[..., None]).transpose(1, 2)).transpose(1, 2)


def mixer(self: Any, hidden_states: torch.Tensor, cache_params: Any = None, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """In place of Mamba2Mixer.torch_forward: no cache, no padding, one chunk."""
    del cache_params, attention_mask
    batch, length, _ = hidden_states.shape
    projected = self.in_proj(hidden_states)
    extra = projected.shape[-1] - 2 * self.intermediate_size - 2 * self.n_groups * self.ssm_state_size - self.num_heads
    sizes = [extra, self.intermediate_size, self.conv_dim, self.num_heads]  # of what older checkpoints have before the gate, mostly 0
    _, gate, mixed, dt = projected.split(sizes, dim=-1)
    mixed = self.act(self.conv1d(mixed.transpose(1, 2))[..., :length].transpose(1, 2))
    state = self.n_groups * self.ssm_state_size
    x, b, c = mixed.split([self.intermediate_size, state, state], dim=-1)
    x = x.reshape(batch, length, self.num_heads, self.head_dim).float()
    b, c = (v.reshape(batch, length, self.n_groups, self.ssm_state_size).float() for v in (b, c))
    b, c = (v.repeat_interleave(self.num_heads // self.n_groups, dim=2) for v in (b, c))
    dt = torch.clamp(torch.nn.functional.softplus(dt + self.dt_bias), self.time_step_limit[0], self.time_step_limit[1])
    y = scan(x, dt, -torch.exp(self.A_log.float()), b, c) + self.D[:, None] * x
    return self.out_proj(self.norm(y.reshape(batch, length, self.intermediate_size), gate).to(hidden_states.dtype))


class Logits(torch.nn.Module):
    """input_ids [B, T] -> logits [B, T, V]."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Of every position."""
        return self.model(input_ids=input_ids, use_cache=False).logits


def export(model: torch.nn.Module) -> ov.Model:
    """The OpenVINO model of a Mamba2ForCausalLM, with inputs of any batch and length."""
    original = Mamba2Mixer.torch_forward
    Mamba2Mixer.torch_forward = mixer
    try:
        with torch.no_grad():
            converted = ov.convert_model(Logits(model.float().eval()), example_input=torch.arange(14).reshape(2, 7))
    finally:
        Mamba2Mixer.torch_forward = original
    converted.inputs[0].get_tensor().set_names({"input_ids"})
    converted.outputs[0].get_tensor().set_names({"logits"})
    converted.reshape({"input_ids": ov.PartialShape([-1, -1])})
    return converted


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="name or folder for transformers")
    parser.add_argument("folder", type=Path, help="to write")
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.model)
    args.folder.mkdir(parents=True)
    ov.save_model(export(model), args.folder / "openvino_model.xml", compress_to_fp16=False)
    model.config.save_pretrained(args.folder)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.save_pretrained(args.folder)


if __name__ == "__main__":
    main()
