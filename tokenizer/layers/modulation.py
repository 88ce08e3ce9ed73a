"""Layers that a time modulates: features of the time, and transformer blocks with adaptive norms (adaLN-Zero).

Source: Peebles and Xie 2023, Scalable Diffusion Models with Transformers (DiT), arXiv 2212.09748, section 3.2.

Letters: B batch, N tokens, D width, E channels of the time's embedding.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.transformer import Attention, GELUFeedForward

TIME_SCALE = 1000.0  # t in [0, 1] reaches the sinusoids as 0 .. 1000, the range of networks of discrete times
TIME_FEATURES = 256


def time_features(t: Tensor) -> Tensor:
    """t (B,) in [0, 1] -> cosines, then sines, of 1000 t at 128 frequencies from 1 to 1/10000: (B, 256) float32.

    Source: Ho et al. 2020, Denoising Diffusion Probabilistic Models, arXiv 2006.11239, as in its released code.
    """
    half = TIME_FEATURES // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / (half - 1)
    angles = TIME_SCALE * t.float()[:, None] * torch.exp(-math.log(10000.0) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (B, N, D) with shift and scale (B, D) of its condition."""
    return x * (1 + scale[:, None]) + shift[:, None]


class TimeEmbedding(nn.Module):
    """Two linear maps of the time's features, activated: what blocks are modulated by."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(TIME_FEATURES, width)
        self.outer = nn.Linear(width, width)
        for layer in (self.inner, self.outer):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor) -> Tensor:
        """t (B,) -> (B, E), in the dtype of the weights."""
        features = time_features(t).to(self.inner.weight.dtype)
        return F.silu(self.outer(F.silu(self.inner(features))))


class ModulatedBlock(nn.Module):
    """Attention and feed-forward, each modulated and gated by the time; fresh, it is the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = Attention(width, heads, bias=True)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.feed_forward = GELUFeedForward(width, bias=True)
        self.modulation = nn.Linear(width, 6 * width)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.modulation.weight)

    def forward(self, x: Tensor, c: Tensor, angles: Tensor | None = None) -> Tensor:
        """x (B, N, D), c (B, D) the embedded time; ``angles`` (N, K/2) turn queries and keys."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.modulation(c).chunk(6, dim=1)
        x = x + gate_a[:, None] * self.attention(modulate(self.norm1(x), shift_a, scale_a), angles)
        out: Tensor = x + gate_f[:, None] * self.feed_forward(modulate(self.norm2(x), shift_f, scale_f))
        return out
