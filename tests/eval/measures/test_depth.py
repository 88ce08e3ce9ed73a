"""The fewest bits are the fewest, and what arrives is what the code says."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from eval.measures.depth import LatentCode, choose
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import to_uint8
from tokenizer.spec import Latent


def latent_of(z: Tensor) -> Latent:
    return Latent({"z": z}, (8, 8))


def test_values_are_rounded_to_even_levels_of_their_channel() -> None:
    code = LatentCode(2, torch.tensor([-1.0, 0.0]), torch.tensor([2.0, 3.0]))
    z = torch.tensor([[-5.0, -0.6, -0.4, 0.9, 9.0], [0.4, 0.6, 1.4, 2.6, -1.0]]).view(1, 2, 5, 1)
    want = [[-1.0, -1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 3.0, 0.0]]
    assert code.rounded(latent_of(z)).z.flatten(2)[0].tolist() == want


def test_a_channel_that_never_moves_stays() -> None:
    code = LatentCode(1, torch.tensor([0.5]), torch.tensor([0.5]))
    z = torch.full((1, 1, 2, 2), 0.5)
    assert torch.equal(code.rounded(latent_of(z)).z, z)


class Pixels:
    """A tokenizer whose latent is the picture: what rounding costs is known."""

    def decode(self, latent: Latent) -> Tensor:
        return latent.z


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_the_fewest_bits_that_cost_little(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 3, 8, 8, generator=generator) * 2 - 1
    z = (x + noise * torch.randn(x.shape, generator=generator)).clamp(-1, 1)
    real = [to_uint8(part) for part in x.split(4)]
    latents = [latent_of(part) for part in z.split(4)]
    tokenizer: Any = Pixels()
    code = choose(tokenizer, real, latents)

    def psnr(depth: int | None) -> float:
        chosen = None if depth is None else LatentCode(depth, code.low, code.high)
        sent = [latent if chosen is None else chosen.rounded(latent) for latent in latents]
        found = [decibels(mean_squared_error(a, to_uint8(b.z))) for a, b in zip(real, sent, strict=True)]
        return float(torch.cat(found).mean())

    assert psnr(code.depth) >= psnr(None) - 0.1
    assert psnr(code.depth - 1) < psnr(None) - 0.1
    assert 2 <= code.depth <= 8


def test_worse_latents_need_fewer_bits() -> None:
    tokenizer: Any = SimpleNamespace(decode=lambda latent: latent.z)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    depths = []
    for noise in (0.01, 0.3):
        z = x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        depths.append(choose(tokenizer, [to_uint8(x)], [latent_of(z)]).depth)
    assert depths[0] > depths[1]
