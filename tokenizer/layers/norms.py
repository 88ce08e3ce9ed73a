"""Norms over the channels of a feature map. Statistics are always computed in float32."""

import torch
from torch import Tensor, nn


class RMSNorm2d(nn.Module):
    """Root-mean-square norm over the channels of each position, with weight and bias.

    Source: Zhang and Sennrich 2019, Root Mean Square Layer Normalization, arXiv 1910.07467; the bias is DC-AE's.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape and dtype."""
        x = x.movedim(1, -1)  # channels last: (B, H, W, C)
        y = x.float()
        normed = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + self.eps)
        out = torch.addcmul(self.bias.float(), normed, self.weight.float()).to(x.dtype)
        return out.movedim(-1, 1)
