"""The diffusion transformer with adaLN-Zero conditioning.

Source: Peebles and Xie 2023, Scalable Diffusion Models with Transformers, arXiv 2212.09748, section 3.2 and
table 1. The plain form (layer norm, GELU, no rotation, no QK-norm) computes what diffusers'
DiTTransformer2DModel computes; the switches are those of Yao et al. 2025, Reconstruction vs. Generation
(LightningDiT), arXiv 2501.01423.

Letters: B batch, C latent channels, H' W' latent grid, p patch, N = H'/p * W'/p tokens, D width, K head
width. A latent that is a row of L tokens has a grid of one axis, and N = L/p.
"""

from typing import Any, Literal

import torch
from einops import rearrange
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion.backbones.base import LatentShape
from tokenizer.core.config import Config
from tokenizer.layers.modulation import TIME_FEATURES, modulate, time_features

FEW_TOKENS = 64  # up to here plain products train faster on a CPU than its fused attention

PRESETS: dict[str, dict[str, int]] = {
    "S": {"depth": 12, "width": 384, "heads": 6},
    "B": {"depth": 12, "width": 768, "heads": 12},
    "L": {"depth": 24, "width": 1024, "heads": 16},
    "XL": {"depth": 28, "width": 1152, "heads": 16},
}


def axes_of(grid: tuple[int, ...]) -> list[Tensor]:
    """The index of every position of a grid on each of its axes, row by row: (N,) float64 each."""
    sides = [torch.arange(side, dtype=torch.float64) for side in grid]
    return [axis.flatten() for axis in torch.meshgrid(*sides, indexing="ij")]


def position_features(grid: tuple[int, ...], width: int) -> Tensor:
    """Fixed sine-cosine positions, row by row: (N, D) float32, the last axis first (the column, then the row).

    Source: Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.5, once an axis.
    """
    share = width // (2 * len(grid))
    frequencies = 10000.0 ** -(torch.arange(share, dtype=torch.float64) / share)
    features = []
    for axis in reversed(axes_of(grid)):
        angles = torch.outer(axis, frequencies)  # N D/4, or D/2 of a row
        features += [angles.sin(), angles.cos()]
    return torch.cat(features, dim=1).float()  # N D


def rotary_features(grid: tuple[int, ...], head_width: int) -> Tensor:
    """Angles of the rotary embedding, half of the pairs turned by the row, half by the column (of a row of tokens
    all by its place): (N, K/2).

    Source: Su et al. 2021, RoFormer, arXiv 2104.09864, section 3.2.2, once an axis.
    """
    share = head_width // (2 * len(grid))
    frequencies = 10000.0 ** -(torch.arange(share, dtype=torch.float64) / share)
    return torch.cat([torch.outer(axis, frequencies) for axis in axes_of(grid)], dim=1).float()


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + K/2}) of x (B, heads, N, K) by ``angles`` (N, K/2); float32 inside."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1).to(x.dtype)


class RMSNorm(nn.Module):
    """Root mean square norm with a gain, computed in float32 whatever the dtype of x.

    Source: Zhang and Sennrich 2019, Root Mean Square Layer Normalization, arXiv 1910.07467, equation 4.
    """

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D), in its dtype."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(K)) v, each (B, heads, N, K), by whichever computation trains faster where q is.

    The fused kernel's backward on a CPU costs a third of a training step at 64 tokens.
    """
    if q.device.type != "cpu" or q.shape[2] > FEW_TOKENS or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # B heads N N
    out: Tensor = weights.softmax(dim=-1).to(v.dtype) @ v
    return out


class Attention(nn.Module):
    """Softmax attention over all tokens; ``rotary`` are the angles (N, K/2), or None for no rotation."""

    def __init__(self, width: int, heads: int, *, qk_norm: bool, rotary: Tensor | None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_q = RMSNorm(width // heads) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width // heads) if qk_norm else nn.Identity()
        self.rotary: Tensor | None
        self.register_buffer("rotary", rotary, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        q, k, v = rearrange(self.qkv(x), "b n (three h k) -> three b h n k", three=3, h=self.heads)
        q, k = self.norm_q(q), self.norm_k(k)
        if self.rotary is not None:
            q, k = rotate(q, self.rotary), rotate(k, self.rotary)
        x = attend(q, k, v)
        out: Tensor = self.out(rearrange(x, "b h n k -> b n (h k)"))
        return out


class GeluMLP(nn.Module):
    """Two layers with the tanh form of GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        out: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return out


class SwiGLU(nn.Module):
    """A gated MLP; ``hidden`` is cut to two thirds so that it costs as much as the plain one.

    Source: Shazeer 2020, GLU Variants Improve Transformer, arXiv 2002.05202, section 2.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        hidden = 2 * hidden // 3
        self.up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        gate, value = self.up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * value)
        return out


class Block(nn.Module):
    """Attention and MLP, each modulated and gated by the condition; the gates start at zero (adaLN-Zero)."""

    def __init__(
        self, width: int, attention: nn.Module, mlp: nn.Module, norm_attention: nn.Module, norm_mlp: nn.Module
    ) -> None:
        super().__init__()
        self.norm_attention = norm_attention
        self.attention = attention
        self.norm_mlp = norm_mlp
        self.mlp = mlp
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, D) tokens, c (B, D) activated condition -> (B, N, D)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(c).chunk(6, dim=1)
        x = x + gate_a[:, None] * self.attention(modulate(self.norm_attention(x), shift_a, scale_a))
        out: Tensor = x + gate_m[:, None] * self.mlp(modulate(self.norm_mlp(x), shift_m, scale_m))
        return out


class DiT(nn.Module):
    """z_t (B, C, H', W') or (B, C, L), t (B,), y (B,) -> v of the same shape.

    Args:
        latent_shape: (C, H', W') or (C, L); the grid is fixed, its positions are computed for it.
        num_classes: label ``num_classes`` is the null label.
        depth, width, heads: as in ``PRESETS``; width is a multiple of 4 and of heads.
        patch: side of a square of latents that is one token; of a row, its length.
        mlp_ratio: hidden width of the MLP over D.
        out_channels: other than C only for networks that also predict variances.
        mlp_norm_eps: of the norm before the MLP (diffusers stores it apart from the others, which are 1e-6).
        norm, mlp, rotary, qk_norm: the modern switches; the defaults are the plain DiT.
    """

    def __init__(
        self,
        *,
        latent_shape: LatentShape,
        num_classes: int,
        depth: int,
        width: int,
        heads: int,
        patch: int = 1,
        mlp_ratio: float = 4.0,
        out_channels: int | None = None,
        mlp_norm_eps: float = 1e-6,
        norm: Literal["layer", "rms"] = "layer",
        mlp: Literal["gelu", "swiglu"] = "gelu",
        rotary: bool = False,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, *grid = latent_shape
        if any(side % patch for side in grid):
            raise ValueError(f"patch {patch} does not divide the latent grid {tuple(grid)}")
        if width % heads or width % 4 or (rotary and width // heads % 4):
            raise ValueError(
                f"width {width} must be a multiple of 4 and of heads {heads} (a head of 4 with rotary)"
            )
        self.latent_shape = latent_shape
        self.num_classes = num_classes
        self.patch = patch
        self.out_channels = out_channels or channels
        tokens = tuple(side // patch for side in grid)
        hidden = int(width * mlp_ratio)

        def make_norm(eps: float = 1e-6) -> nn.Module:
            return (
                RMSNorm(width, eps) if norm == "rms" else nn.LayerNorm(width, eps, elementwise_affine=False)
            )

        def make_block() -> Block:
            angles = rotary_features(tokens, width // heads) if rotary else None
            attention = Attention(width, heads, qk_norm=qk_norm, rotary=angles)
            feed = SwiGLU(width, hidden) if mlp == "swiglu" else GeluMLP(width, hidden)
            return Block(width, attention, feed, make_norm(), make_norm(mlp_norm_eps))

        row = len(grid) == 1
        self.flatten = "b d l -> b l d" if row else "b d h w -> b (h w) d"
        self.unflatten = "b l (p c) -> b c (l p)" if row else "b (h w) (p q c) -> b c (h p) (w q)"
        self.sides = {"p": patch} if row else {"h": tokens[0], "p": patch, "q": patch}
        self.embed_patch = (nn.Conv1d if row else nn.Conv2d)(channels, width, kernel_size=patch, stride=patch)
        self.embed_time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_label = nn.Embedding(num_classes + 1, width)
        self.positions: Tensor
        self.register_buffer("positions", position_features(tokens, width), persistent=False)
        self.blocks = nn.ModuleList(make_block() for _ in range(depth))
        self.norm_out = make_norm()
        self.modulation_out = nn.Linear(width, 2 * width)
        self.unembed = nn.Linear(width, patch ** len(grid) * self.out_channels)
        self._initialize()

    def _initialize(self) -> None:
        """Xavier everywhere, 0.02 for the embeddings, zero for modulations and output (adaLN-Zero)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.embed_patch.weight.view(self.embed_patch.out_channels, -1))
        if self.embed_patch.bias is not None:
            nn.init.zeros_(self.embed_patch.bias)
        for name, parameter in self.named_parameters():
            if name.startswith("embed_label") or (name.startswith("embed_time") and name.endswith("weight")):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("modulation.weight"):
                nn.init.zeros_(parameter)
        nn.init.zeros_(self.modulation_out.weight)
        nn.init.zeros_(self.unembed.weight)

    def forward(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """z_t (B, *latent_shape), t (B,) in [0, 1] (1 = noise), y (B,) in 0 .. num_classes -> v with C_out channels.

        Computes in the dtype of the weights and answers in that of z_t; t is best kept float32.

        Raises:
            ValueError: if z_t is not of the shape the network was built for.
        """
        if tuple(z_t.shape[1:]) != self.latent_shape:
            raise ValueError(f"this network takes latents of {self.latent_shape}, got {tuple(z_t.shape[1:])}")
        dtype = self.unembed.weight.dtype
        x = rearrange(self.embed_patch(z_t.to(dtype)), self.flatten) + self.positions  # B N D
        c = self.embed_time(time_features(t).to(dtype)) + self.embed_label(y)  # B D
        c = F.silu(c)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation_out(c).chunk(2, dim=1)
        x = self.unembed(modulate(self.norm_out(x), shift, scale))  # B N p*p*C
        v: Tensor = rearrange(x, self.unflatten, **self.sides)
        return v.to(z_t.dtype)


class DiTConfig(Config):
    """A diffusion transformer (DiT, arXiv 2212.09748); ``preset`` fills depth, width and heads."""

    kind: Literal["dit"] = "dit"
    preset: Literal["S", "B", "L", "XL"] | None = None
    depth: int
    width: int
    heads: int
    patch: int = 1
    mlp_ratio: float = 4.0
    out_channels: int | None = None
    mlp_norm_eps: float = 1e-6
    norm: Literal["layer", "rms"] = "layer"
    mlp: Literal["gelu", "swiglu"] = "gelu"
    rotary: bool = False
    qk_norm: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, tree: Any) -> Any:  # not validated yet, so anything
        if isinstance(tree, dict) and tree.get("preset") in PRESETS:
            return PRESETS[tree["preset"]] | tree
        return tree

    @property
    def is_plain(self) -> bool:
        """Whether no modern switch is on, so that diffusers' DiTTransformer2DModel can express it."""
        return (self.norm, self.mlp, self.rotary, self.qk_norm) == ("layer", "gelu", False, False)

    def build(self, *, latent_shape: LatentShape, num_classes: int) -> DiT:
        """The network for latents (C, H', W') or (C, L) and ``num_classes`` labels besides the null one."""
        return DiT(
            latent_shape=latent_shape, num_classes=num_classes, **self.model_dump(exclude={"kind", "preset"})
        )
