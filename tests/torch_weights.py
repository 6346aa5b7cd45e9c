"""Random weights for models of transformers that are exported."""

from __future__ import annotations


def spread_out(model) -> None:
    """Make random weights so large, and norms so uneven, that a wrong layer shows in the logits; transformers starts with 0.02."""
    import torch

    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim in (2, 3) and value.shape[-1] > 4:  # 3: of experts, [E, N, K]
                value.copy_(torch.randn_like(value) / value.shape[-1] ** 0.5)
            elif value.ndim == 1 and name.endswith("bias"):
                value.add_(0.1 * torch.randn_like(value))
            elif value.ndim == 1 and "norm" in name.lower():
                value.mul_(1 + 0.2 * torch.randn_like(value))
