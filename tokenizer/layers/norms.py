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
        """x (B, C, *S) -> the same shape and dtype."""
        x = x.movedim(1, -1)  # channels last: (B, *S, C)
        y = x.float()
        normed = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + self.eps)
        out = torch.addcmul(self.bias.float(), normed, self.weight.float()).to(x.dtype)
        return out.movedim(-1, 1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position.

    Source: Ba et al. 2016, Layer Normalization, arXiv 1607.06450.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, *S) -> the same shape and dtype."""
        y = super().forward(x.movedim(1, -1).float() if x.dtype != torch.float64 else x.movedim(1, -1))
        return y.to(x.dtype).movedim(-1, 1)
