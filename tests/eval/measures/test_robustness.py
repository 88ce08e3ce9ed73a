"""Closed forms of noise and of encoding again."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eval.measures.robustness import CycleError, NoisePSNR
from eval.pixels import from_uint8
from tokenizer.model import Autoencoder

Toy = Callable[..., Autoencoder]


def grey(count: int = 4) -> Tensor:
    """Pictures about middle grey, where no noise is clamped away."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(100, 156, (count, 3, 32, 32), generator=generator).to(torch.uint8)


def test_noise_on_the_identity_is_noise_on_the_picture(toy: Toy) -> None:
    measure, real = NoisePSNR(0.05), grey()
    tokenizer = toy(lambda x: x, lambda z: z, 3, 1)
    for batch in real.split(2):
        measure.update(tokenizer, batch, tokenizer.encode(from_uint8(batch)))
    expected = 10 * math.log10(4 / 0.05**2)
    assert measure.compute()[0] == pytest.approx(expected, abs=0.1)


def test_a_decoder_that_ignores_noise_loses_nothing(toy: Toy) -> None:
    real = grey(1)
    tokenizer = toy(lambda x: x, lambda z: from_uint8(real), 3, 1)
    measure = NoisePSNR(0.5)
    measure.update(tokenizer, real, tokenizer.encode(from_uint8(real)))
    assert measure.compute()[0] > 90


def test_noise_is_the_same_every_time(toy: Toy) -> None:
    real, found = grey(), []
    tokenizer = toy(lambda x: x, lambda z: z, 3, 1)
    for _ in range(2):
        measure = NoisePSNR(0.3)
        measure.update(tokenizer, real, tokenizer.encode(from_uint8(real)))
        found.append(measure.compute())
    assert found[0] == found[1]


def test_encoding_again(toy: Toy) -> None:
    """D(z) = z / 2 and E(x) = x: what comes again is half the latent."""
    real = grey()
    for decode, expected in ((lambda z: z, 0.0), (lambda z: z / 2, 0.5), (lambda z: 0 * z, 1.0)):
        tokenizer = toy(lambda x: x, decode, 3, 1)
        measure = CycleError()
        measure.update(tokenizer, real, tokenizer.encode(from_uint8(real)))
        assert measure.compute()[0] == pytest.approx(expected, abs=1e-6)


def test_nothing_given() -> None:
    for measure in (NoisePSNR(0.1), CycleError()):
        with pytest.raises(ValueError, match="no "):
            measure.compute()
