"""diffusers' VQModel (VQGAN, MoVQ): its configuration, its tensor names, its latent convention.

What its ``encode`` gives is not quantised yet; its ``decode`` quantises. Ours quantises in ``encode``, so that a
latent is the code. A latent is normalised there as ``z * scaling_factor``. Its loss weighs the commitment where the
codebook's pull should be weighed (kept upstream for old checkpoints): that is no part of the weights, and a model
that is trained on here uses the right one.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokenizer.adapters.diffusers import resnet
from tokenizer.adapters.diffusers.convention import Statistics, one_scale, refuse
from tokenizer.adapters.diffusers.keys import KeyTable, Pair
from tokenizer.bottlenecks.vq import VQ
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Decoder, Encoder, SpatialNorm
from tokenizer.model import Autoencoder

NAME = "VQModel"

_CODEBOOK, _PASSES = "bottleneck.book.codebook", "bottleneck.book.passes"
_SPATIAL_GROUPS = 32  # their spatial norm always has these
_KEYS = KeyTable([Pair("quantize.embedding.weight", _CODEBOOK), *resnet.pairs()])


def config_from(config: Mapping[str, Any]) -> TokenizerConfig:  # JSON of another project, read key by key
    """Our configuration for theirs.

    Raises:
        ValueError: naming the setting that our network cannot express.
    """
    inner = config.get("latent_channels", 3)
    channels = config.get("vq_embed_dim")
    channels = inner if channels is None else channels
    norm = config.get("norm_type", "group")
    layout = resnet.layout_from(NAME, config)
    if norm not in ("group", "spatial"):
        refuse(NAME, "norm_type", norm, "group or spatial")
    if norm == "spatial" and layout["norm_groups"] != _SPATIAL_GROUPS:
        refuse(NAME, "norm_num_groups", layout["norm_groups"], _SPATIAL_GROUPS)
    return TokenizerConfig.parse(
        {
            "backbone": {
                "kind": "vqgan",
                "latent_channels": channels,
                "inner_channels": inner,
                "decoder_norm": norm,
                **layout,
            },
            "bottleneck": {"kind": "vq", "codebook_size": config.get("num_vq_embeddings", 256)},
        }
    )


def tensors_from(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dict in our layout, with a codebook that has seen no training pass yet."""
    return _KEYS.to_ours(resnet.fuse_attention(tensors)) | {_PASSES: torch.zeros((), dtype=torch.int64)}


def tensors_to(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict in their layout, without what our codebook needs only for training."""
    kept = {
        key: tensor
        for key, tensor in tensors.items()
        if not key.startswith("bottleneck.") or key == _CODEBOOK
    }
    return resnet.split_attention(_KEYS.to_theirs(kept))


def config_to(autoencoder: Autoencoder) -> dict[str, Any]:  # the arguments of their class
    """Their configuration for our network, without the latent convention.

    Raises:
        ValueError: if the class cannot express the network.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(
        encoder, Encoder
    )  # the caller chose this file by the encoder's class and the bottleneck's
    assert isinstance(decoder, Decoder)
    assert isinstance(autoencoder.bottleneck, VQ)
    layout = resnet.layout_to(encoder, decoder)
    inner = encoder.conv_out.out_channels
    spatial = isinstance(decoder.norm_out, SpatialNorm)
    if autoencoder.bottleneck.book.distance != "euclidean":
        raise ValueError(f"{NAME} finds codes by Euclidean distance: cosine codes cannot be exported to it")
    if spatial and layout["norm_num_groups"] != _SPATIAL_GROUPS:
        raise ValueError(
            f"{NAME}'s spatial norm has {_SPATIAL_GROUPS} groups, not {layout['norm_num_groups']}"
        )
    if spatial and inner != autoencoder.spec.z.channels:
        raise ValueError(f"{NAME} with spatial norms needs inner_channels equal to latent_channels")
    return {
        **layout,
        "latent_channels": inner,
        "vq_embed_dim": autoencoder.spec.z.channels,
        "num_vq_embeddings": autoencoder.spec.z.codebook_size,
        "norm_type": "spatial" if spatial else "group",
    }


def raw_latent(module: Any, x: Tensor) -> Tensor:  # their class is not typed
    """What their module makes of x (B, 3, H, W), comparable to our raw z: the codes."""
    z: Tensor = module.quantize(module.encode(x).latents)[0]
    return z


def scaled(statistics: Statistics) -> dict[str, Any]:  # as above
    """The one scale nearest to ``statistics``; exact where the means are 0 and all channels agree."""
    return {"scaling_factor": one_scale(statistics)}


def fold(config: dict[str, Any], tensors: dict[str, Tensor], statistics: Statistics) -> None:  # as above
    """Always an error: scaling channels one by one would change which code is nearest."""
    raise ValueError(
        f"{NAME}'s nearest code depends on the scale of every channel, so statistics cannot be folded into it: "
        "export with latents=scaled, which keeps the codes and states one scale for all channels"
    )
