"""Weights to and from diffusers' DiTTransformer2DModel, both ways, equal in what they compute.

Times: diffusers takes ``timestep = 1000 t`` (a float; FlowMatchEulerDiscreteScheduler's timesteps with sigma
= t); ours takes t in [0, 1] and multiplies by 1000 itself. Labels: the last row of the label table,
``num_embeds_ada_norm``, is the null label in both. diffusers keeps a copy of the time and label embedders in
every block and uses block 0's at the output; ours has one, so the copies must be equal to be read, and are
written equal.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.backbones.base import LatentShape
from diffusion.backbones.dit import DiT, DiTConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"

# Ours -> theirs, outside the blocks.
OUTER = {
    "embed_patch": "pos_embed.proj",
    "modulation_out": "proj_out_1",
    "unembed": "proj_out_2",
}
# Ours -> theirs, inside every block; the fused q, k, v are handled apart.
INNER = {
    "modulation": "norm1.linear",
    "attention.out": "attn1.to_out.0",
    "mlp.up": "ff.net.0.proj",
    "mlp.down": "ff.net.2",
}
# Ours (one for all) -> theirs (one a block, equal).
TIED = {
    "embed_time.0.weight": "norm1.emb.timestep_embedder.linear_1.weight",
    "embed_time.0.bias": "norm1.emb.timestep_embedder.linear_1.bias",
    "embed_time.2.weight": "norm1.emb.timestep_embedder.linear_2.weight",
    "embed_time.2.bias": "norm1.emb.timestep_embedder.linear_2.bias",
    "embed_label.weight": "norm1.emb.class_embedder.embedding_table.weight",
}
# What their configuration must say for our plain form to compute the same.
REQUIRED = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "upcast_attention": False,
    "dropout": 0.0,
}


@dataclass(frozen=True, slots=True)
class Converted:
    """A network read from diffusers.

    Attributes:
        config: what ``config.build(latent_shape=..., num_classes=...)`` needs for ``state`` to fit.
        latent_shape: (C, H', W'), a square grid.
        num_classes: labels besides the null one.
        state: our state dict.
    """

    config: DiTConfig
    latent_shape: tuple[int, int, int]
    num_classes: int
    state: dict[str, Tensor]

    def build(self) -> DiT:
        """The network with its weights, in their dtype."""
        model = self.config.build(latent_shape=self.latent_shape, num_classes=self.num_classes)
        model.to(next(iter(self.state.values())).dtype).load_state_dict(self.state)
        return model


def from_diffusers(config: Mapping[str, object], state: Mapping[str, Tensor]) -> Converted:
    """Convert a DiTTransformer2DModel given as configuration and state dict.

    Raises:
        ValueError: if a setting has no counterpart, the embedders of two blocks differ, or a tensor is
        missing
            or unknown.
    """
    for name, wanted in REQUIRED.items():
        if config.get(name, wanted) != wanted:
            raise ValueError(f"{name}={config[name]!r} has no counterpart here, only {wanted!r}")
    heads, head_width = (
        _integer(config, "num_attention_heads", 16),
        _integer(config, "attention_head_dim", 72),
    )
    depth, side = _integer(config, "num_layers", 28), _integer(config, "sample_size", 32)
    channels = _integer(config, "in_channels", 4)
    out_channels = config.get("out_channels")
    left = dict(state)
    ours: dict[str, Tensor] = {}
    for name, theirs in TIED.items():
        copies = [_take(left, f"transformer_blocks.{index}.{theirs}") for index in range(depth)]
        for index, copy in enumerate(copies):
            if not torch.equal(copy, copies[0]):
                raise ValueError(
                    f"the embedders of the blocks are not tied: transformer_blocks.{index}.{theirs} differs "
                    "from block 0's, and this DiT has one for all: copy block 0's into every block first"
                )
        ours[name] = copies[0]
    for name, theirs in OUTER.items():
        for leaf in ("weight", "bias"):
            ours[f"{name}.{leaf}"] = _take(left, f"{theirs}.{leaf}")
    for index in range(depth):
        for leaf in ("weight", "bias"):
            prefix = f"transformer_blocks.{index}"
            parts = [_take(left, f"{prefix}.attn1.to_{part}.{leaf}") for part in "qkv"]
            ours[f"blocks.{index}.attention.qkv.{leaf}"] = torch.cat(parts)
            for name, theirs in INNER.items():
                ours[f"blocks.{index}.{name}.{leaf}"] = _take(left, f"{prefix}.{theirs}.{leaf}")
    if left:
        raise ValueError(f"unknown tensors: {', '.join(sorted(left)[:5])}")
    width = heads * head_width
    model = DiTConfig(
        depth=depth,
        width=width,
        heads=heads,
        patch=_integer(config, "patch_size", 2),
        mlp_ratio=ours["blocks.0.mlp.up.weight"].shape[0] / width,
        out_channels=None if out_channels in (None, channels) else _integer(config, "out_channels", 0),
        mlp_norm_eps=float(str(config.get("norm_eps", 1e-5))),
    )
    return Converted(model, (channels, side, side), _integer(config, "num_embeds_ada_norm", 1000), ours)


def to_diffusers(
    config: DiTConfig, latent_shape: LatentShape, num_classes: int, state: Mapping[str, Tensor]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """Our configuration and state dict -> those of DiTTransformer2DModel.

    Raises:
        ValueError: if a modern switch is on, the MLP ratio is not 4, or the latent is not a square grid, which
            that class cannot express.
    """
    if not config.is_plain:
        raise ValueError(
            "only the plain DiT exports: DiTTransformer2DModel has no RMS norm, SwiGLU, rotation, QK-norm"
        )
    if config.mlp_ratio != 4:
        raise ValueError(f"DiTTransformer2DModel has an MLP of 4 widths, this one {config.mlp_ratio}")
    if len(latent_shape) != 3:
        raise ValueError("DiTTransformer2DModel takes square latents, this model rows of tokens")
    channels, height, width = latent_shape
    if height != width:
        raise ValueError(f"DiTTransformer2DModel takes square latents, this model {height} x {width}")
    theirs: dict[str, Tensor] = {}
    for name, outer in OUTER.items():
        for leaf in ("weight", "bias"):
            theirs[f"{outer}.{leaf}"] = state[f"{name}.{leaf}"]
    for index in range(config.depth):
        prefix = f"transformer_blocks.{index}"
        for name, tied in TIED.items():
            theirs[f"{prefix}.{tied}"] = state[name].clone()
        for leaf in ("weight", "bias"):
            for part, tensor in zip(
                "qkv", state[f"blocks.{index}.attention.qkv.{leaf}"].chunk(3), strict=True
            ):
                theirs[f"{prefix}.attn1.to_{part}.{leaf}"] = tensor.clone()
            for name, inner in INNER.items():
                theirs[f"{prefix}.{inner}.{leaf}"] = state[f"blocks.{index}.{name}.{leaf}"]
    settings: dict[str, object] = {
        "_class_name": "DiTTransformer2DModel",
        "num_attention_heads": config.heads,
        "attention_head_dim": config.width // config.heads,
        "in_channels": channels,
        "out_channels": config.out_channels or channels,
        "num_layers": config.depth,
        "sample_size": height,
        "patch_size": config.patch,
        "num_embeds_ada_norm": num_classes,
        "norm_eps": config.mlp_norm_eps,
        **REQUIRED,
    }
    return settings, theirs


def read_diffusers(folder: Path) -> Converted:
    """Read a folder written by ``DiTTransformer2DModel.save_pretrained`` (safetensors, whole or in shards).

    Raises:
        ValueError: as ``from_diffusers``, or if the folder holds another class or no safetensors.
    """
    config = json.loads((folder / "config.json").read_text())
    if config.get("_class_name") != "DiTTransformer2DModel":
        raise ValueError(f"{folder} holds {config.get('_class_name')!r}, not a DiTTransformer2DModel")
    files = sorted(folder.glob("diffusion_pytorch_model*.safetensors"))
    if not files:
        raise ValueError(
            f"{folder} has no diffusion_pytorch_model*.safetensors: save it with safe_serialization=True"
        )
    state: dict[str, Tensor] = {}
    for file in files:
        state.update(load_file(file))
    return from_diffusers(config, state)


def write_diffusers(
    folder: Path,
    config: DiTConfig,
    latent_shape: LatentShape,
    num_classes: int,
    state: Mapping[str, Tensor],
) -> None:
    """Write a folder that ``DiTTransformer2DModel.from_pretrained`` loads; ValueError as ``to_diffusers``."""
    settings, theirs = to_diffusers(config, latent_shape, num_classes, state)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in theirs.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _take(state: dict[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"the DiTTransformer2DModel lacks {name}")
    return state.pop(name)


def _integer(config: Mapping[str, object], name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    return value
