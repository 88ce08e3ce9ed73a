"""Batch norms folded into the convolutions before them: a network that only infers passes over its memory less often.

Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
arXiv 1712.05877, section 3.2 (equation 14).
"""

import torch
from torch import nn


def fold_norms(network: nn.Module) -> None:
    """Let every ``conv`` that has a ``bn`` beside it do the work of both, in place; for inference.

    Computed in float64, so that what is left of the difference is rounding of the convolution itself.
    """
    for module in list(network.modules()):
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv = _folded(conv, norm)
            module.bn = nn.Identity()


@torch.no_grad()
def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    before = torch.zeros_like(norm.running_mean).double() if conv.bias is None else conv.bias.double()
    bias = norm.bias.double() + (before - norm.running_mean.double()) * scale
    with torch.device("meta"):
        made = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]  # of two numbers, which torch types as any number
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
        )
    made.weight = nn.Parameter((conv.weight.double() * scale.view(-1, 1, 1, 1)).to(conv.weight.dtype))
    made.bias = nn.Parameter(bias.to(conv.weight.dtype))
    return made
