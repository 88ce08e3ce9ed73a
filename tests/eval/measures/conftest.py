"""Pictures made here, and a tokenizer whose encoder and decoder are one line each."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.bottlenecks.identity import Identity
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.fixture
def smooth() -> Tensor:
    """Six pictures (6, 3, 32, 32) uint8: random colours of a 5x5 grid, enlarged, and a little noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 5, 5, generator=generator)
    pictures = F.interpolate(coarse, size=32, mode="bicubic", align_corners=False)
    pictures = pictures + 0.02 * torch.randn(pictures.shape, generator=generator)
    return (pictures * 255).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture
def toy() -> Callable[..., Autoencoder]:
    """A tokenizer of two functions, x -> z and z -> x, with unit statistics."""

    def make(
        encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], channels: int, factor: int
    ) -> Autoencoder:
        spec = LatentSpec.image(channels, factor)
        spec = spec.with_statistics({"z": ([0.0] * channels, [1.0] * channels)})
        return Autoencoder(Function(encode), Identity(channels), Function(decode), spec)

    return make
