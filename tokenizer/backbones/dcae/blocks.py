"""What a stage of DC-AE is made of: residual blocks where there is detail, linear attention further down.

Source: Chen et al. 2024, Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models,
arXiv 2410.10733 (figure 4: the stages); Cai et al. 2022, EfficientViT, arXiv 2205.14756 (attention).

Letters: B batch, C channels, H W rows and columns, N = H W positions, G heads, D channels a head.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.norms import RMSNorm2d
from tokenizer.layers.precision import full_precision

Block = Literal["res", "efficientvit"]
Norm = Literal["rms", "batch"]
Activation = Literal["silu", "relu"]

NORMS: dict[Norm, type[nn.Module]] = {"rms": RMSNorm2d, "batch": nn.BatchNorm2d}
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}


class ResBlock(nn.Module):
    """conv, activation, conv, norm, plus identity."""

    def __init__(self, channels: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = ACTIVATIONS[activation]()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = NORMS[norm](channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        h: Tensor = self.norm(self.conv2(self.activation(self.conv1(x))))
        return x + h


class Neighbourhood(nn.Sequential):
    """q, k and v of every position mixed with those around it: depthwise, then one matrix for each head's q, k, v.

    Args:
        channels: of all q, k and v together.
        head_dim: channels of one q.
        kernel: side of the neighbourhood, odd.
    """

    def __init__(self, channels: int, head_dim: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
        )
        self.point = nn.Conv2d(channels, channels, 1, groups=channels // head_dim, bias=False)


class LinearAttention(nn.Module):
    """Attention with the kernel ReLU(q) . ReLU(k), whose cost is linear in the positions.

    ``qkv`` gives each head its q, k and v side by side: channels [q of head 0, k of head 0, v of head 0, q of
    head 1, ...]. Each of ``kernels`` adds as many heads again, which attend with q, k and v of neighbourhoods of
    that side (multi-scale attention). The ratio of sums is taken in float32: half precision overflows it.
    """

    def __init__(self, channels: int, head_dim: int, kernels: Sequence[int] = (), eps: float = 1e-15) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.eps = eps
        inner = channels // head_dim * head_dim
        self.qkv = nn.Conv2d(channels, 3 * inner, 1, bias=False)
        self.scales = nn.ModuleList(Neighbourhood(3 * inner, head_dim, kernel) for kernel in kernels)
        self.proj = nn.Conv2d(inner * (1 + len(kernels)), channels, 1, bias=False)
        self.norm = RMSNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape, residual included."""
        height, width = x.shape[-2:]
        qkv = self.qkv(x)
        if self.scales:
            qkv = torch.cat([qkv, *(scale(qkv) for scale in self.scales)], dim=1)
        qkv = rearrange(qkv, "b (g d) h w -> b g d (h w)", d=3 * self.head_dim)
        with full_precision(x.device):
            q, k, v = qkv.float().chunk(3, dim=2)  # (B, G, D, N) each
            q, k = F.relu(q), F.relu(k)
            attend = self._linear if height * width > self.head_dim else self._quadratic
            out: Tensor = attend(q, k, v)
        h = rearrange(out.to(qkv.dtype), "b g d (h w) -> b (g d) h w", h=height)
        out = self.norm(self.proj(h))
        return out + x

    def _linear(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        v = F.pad(v, (0, 0, 0, 1), value=1.0)  # (B, G, D + 1, N): the row of ones becomes the denominator
        out = torch.matmul(torch.matmul(v, k.transpose(-1, -2)), q)
        return out[:, :, :-1] / (out[:, :, -1:] + self.eps)

    def _quadratic(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = torch.matmul(k.transpose(-1, -2), q)  # (B, G, N, N)
        return torch.matmul(v, weights / (weights.sum(dim=2, keepdim=True) + self.eps))


class GatedConvFeedForward(nn.Module):
    """Inverted bottleneck with a depthwise convolution and a SiLU gate (GLUMBConv), residual included.

    Source: Xie et al. 2024, SANA, arXiv 2410.10629, section 2.2 (Mix-FFN).
    """

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = channels * expansion
        self.inverted = nn.Conv2d(channels, 2 * hidden, 1)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.point = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm = RMSNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        h, gate = self.depthwise(F.silu(self.inverted(x))).chunk(2, dim=1)
        out: Tensor = self.norm(self.point(h * F.silu(gate)))
        return out + x


class EfficientViTBlock(nn.Module):
    """Linear attention for context, then a gated convolution for detail."""

    def __init__(self, channels: int, head_dim: int, kernels: Sequence[int] = ()) -> None:
        super().__init__()
        self.attention = LinearAttention(channels, head_dim, kernels)
        self.feed_forward = GatedConvFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        h: Tensor = self.feed_forward(self.attention(x))
        return h
