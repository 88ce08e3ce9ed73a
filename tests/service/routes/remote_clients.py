"""What tests of diffusers' remote clients share: latents as the model itself makes them, in every convention.

Letters: B batch, C latent channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.service.conftest import Server, picture
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent

SIZE = (48, 32)
MODELS = ("tiny", "codes")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def endpoint(server: Server, operation: str, model: str = "tiny") -> str:
    return f"{server.url}/v1/remote/{operation}?model={model}"


def pixels(batch: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    """uint8 (B, H, W, 3)."""
    return torch.from_numpy(np.stack([picture(*size, seed) for seed in range(batch)]))


def network_input(batch: Tensor) -> Tensor:
    return batch.permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def encoded(model: Tokenizer, batch: Tensor) -> Latent:
    return model.encode(network_input(batch))


@torch.inference_mode()
def decoded(model: Tokenizer, z: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    """x_hat of normalised latents."""
    padded = model.spec.padded(size)
    height, width = size
    return model.decode(Latent({"z": z.float()}, padded))[:, :, :height, :width].clone()


# name: the client's arguments, raw -> what is sent, and what was sent -> raw; None where the spec's own is meant.
Scaling = tuple[dict[str, Any], Callable[[Tensor], Tensor] | None, Callable[[Tensor], Tensor] | None]
SCALINGS: dict[str, Scaling] = {
    "raw": ({"do_scaling": False}, lambda raw: raw, lambda sent: sent),
    "none": ({"do_scaling": None}, lambda raw: raw, lambda sent: sent),
    "factor": ({"scaling_factor": 0.7}, lambda raw: raw * 0.7, lambda sent: sent / 0.7),
    "both": (
        {"scaling_factor": 0.36, "shift_factor": 0.12},
        lambda raw: (raw - 0.12) * 0.36,
        lambda sent: sent / 0.36 + 0.12,
    ),
    "own": ({}, None, None),
    "own beside a shift": ({"shift_factor": 0.5}, None, None),
}


def as_image(mode: str) -> Image.Image:
    return Image.fromarray(picture(*SIZE)).convert(mode)
