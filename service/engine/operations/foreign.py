"""Latents and pictures as diffusers' remote clients send and read them: other conventions, and raw tensors.

A raw latent is what the tokenizer's bottleneck gives, before its spec normalises it. Clients scale it by factors of
their own, ``z = (raw - shift_factor) * scaling_factor``, or leave that to the server.

Source: huggingface/diffusers, utils/remote_utils.py; AutoencoderKL's use in its pipelines for the formula.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from service.engine.messages import Answer
from service.engine.operations.base import to_host
from service.errors import NotFinite
from service.wire.latents import MAX_MAGNITUDE

if TYPE_CHECKING:
    from torch import Tensor

    from service.engine.messages import Convention
    from tokenizer.spec import LatentSpec

TENSOR_MEDIA_TYPE = "tensor/binary"


def to_normalised(z: Tensor, spec: LatentSpec, convention: Convention) -> Tensor:
    """Latents of another convention (B, C, ...) -> as ``spec`` normalises them, float32.

    Raises:
        NotFinite: the result is no latent: the factors are not this tokenizer's.
    """
    if not convention.own:
        raw = z.float() / (convention.scaling_factor or 1.0) + (convention.shift_factor or 0.0)
        z = spec.normalize(raw)
    if not float(z.abs().max()) <= MAX_MAGNITUDE:  # NaN compares false
        raise NotFinite(
            f"after scaling the latent holds NaN, infinity or values beyond {MAX_MAGNITUDE:g}: send the scaling_factor "
            "and shift_factor that it was made with",
            param="scaling_factor",
        )
    return z


def from_normalised(z: Tensor, spec: LatentSpec, convention: Convention) -> Tensor:
    """Latents as ``spec`` normalises them (B, C, ...) -> of another convention, float32; the inverse of the above."""
    if convention.own:
        return z.float()
    raw = spec.denormalize(z.float())
    return (raw - (convention.shift_factor or 0.0)) * (convention.scaling_factor or 1.0)


def to_unit(x_hat: Tensor) -> Tensor:
    """x_hat, about [-1, 1] -> [0, 1], clamped, in its own type."""
    return (x_hat.float() / 2 + 0.5).clamp(0, 1).to(x_hat.dtype)


def tensor_answer(job_id: int, tensor: Tensor, headers: dict[str, str]) -> Answer:
    """The bytes of a tensor, C order and little-endian, with shape and dtype told as the clients read them."""
    told = {"shape": json.dumps(list(tensor.shape)), "dtype": str(tensor.dtype).removeprefix("torch.")}
    body = to_host(tensor.contiguous().view(torch.uint8)).tobytes()  # numpy has no bfloat16, so bytes travel
    return Answer(job_id, body, TENSOR_MEDIA_TYPE, headers | told)
