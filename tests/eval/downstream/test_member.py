"""One member: samples that can be made again, and distances that are those of the measure."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eval.downstream.member import (
    Photographs,
    distance_of,
    load_tokenizer,
    psnr_of,
    reconstruct,
    values_of,
)
from eval.downstream.settings import DownstreamConfig
from eval.measures.patch_frechet import patch_frechet
from eval.pixels import from_uint8, to_uint8
from tokenizer.loading import load

Make = Callable[..., DownstreamConfig]
CPU = torch.device("cpu")


def test_photographs_are_cropped_and_compared_once(config: Make) -> None:
    photographs = Photographs.read(config())
    assert photographs.reference.shape == (8, 3, 32, 32)
    assert torch.equal(photographs.reference, photographs.held_out)
    measure = photographs.measure()
    same = distance_of(photographs.held_out, measure)
    assert same.mean == pytest.approx(0.0, abs=1e-5)
    darker = photographs.held_out // 2
    found = distance_of(darker, measure)  # the measure still holds the reference alone
    assert found.mean == pytest.approx(patch_frechet(photographs.reference, darker).mean, rel=1e-6)
    assert sorted(found.scales) == [8, 16, 32]


def test_reconstructions_are_the_tokenizers_in_any_batch(config: Make, tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    real = Photographs.read(config()).held_out
    fake = reconstruct(tokenizer, real, 3, CPU)
    with torch.no_grad():
        direct = to_uint8(tokenizer.decode(tokenizer.encode(from_uint8(real))))
    assert (fake.int() - direct.int()).abs().max() <= 1
    mse = ((real.double() - fake.double()) / 255).square().flatten(1).mean(dim=1)
    assert psnr_of(real, fake) == pytest.approx(float((-10 * mse.log10()).mean()), abs=1e-4)


def test_a_tokenizer_without_statistics_is_refused(
    tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmeasured = load(tokenizer_folder)
    unmeasured.spec = unmeasured.spec.with_statistics(None)
    monkeypatch.setattr("eval.downstream.member.load", lambda source, device: unmeasured)
    with pytest.raises(ValueError, match=r"measure them with `python -m tokenizer\.stats`"):
        load_tokenizer(str(tokenizer_folder))
    assert values_of((4, 6)) == 24
