"""PSNR: closed form, the package, and the traps of pooling and wrapping."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from eval.metrics.psnr import PSNR, mean_squared_error
from eval.protocols import canon_v1

PROTOCOL = canon_v1(32, "fail")


def pictures(seed: int, count: int = 4, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def noisy(real: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Each picture disturbed by its own level, so that the pictures' PSNR differ."""
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(9)) * levels.view(-1, 1, 1, 1)
    return (real.float() + noise).round().clamp(0, 255).to(torch.uint8)


def test_constant_offset_has_its_closed_form() -> None:
    real = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    metric = PSNR(PROTOCOL)
    metric.update(real, real + 5)
    assert metric.compute().value == pytest.approx(20 * math.log10(255 / 5), abs=1e-9)


def test_differences_do_not_wrap_around() -> None:
    black, white = (
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.full((1, 3, 16, 16), 255, dtype=torch.uint8),
    )
    assert mean_squared_error(black, white).item() == 255.0**2
    assert mean_squared_error(white, black).item() == 255.0**2


def test_equals_scikit_image_and_torchmetrics_picture_by_picture() -> None:
    real = pictures(0)
    fake = noisy(real, torch.tensor([1.0, 4.0, 16.0, 64.0]))
    metric = PSNR(PROTOCOL)
    metric.update(real, fake)
    score = metric.compute()
    expected = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255) for a, b in zip(real, fake, strict=True)
    ]
    assert score.per_image == pytest.approx(expected, abs=1e-9)
    each = torchmetrics_psnr(fake.float(), real.float(), data_range=255.0, reduction="none", dim=(1, 2, 3))
    assert score.per_image == pytest.approx(each.tolist(), abs=1e-4)
    assert score.value == pytest.approx(sum(expected) / 4, abs=1e-9)


def test_mean_of_pictures_is_not_the_pooled_value_and_both_are_told() -> None:
    real = pictures(1)
    fake = noisy(real, torch.tensor([1.0, 2.0, 30.0, 60.0]))
    metric = PSNR(PROTOCOL)
    metric.update(real, fake)
    score = metric.compute()
    pooled = torchmetrics_psnr(fake.float(), real.float(), data_range=255.0)  # its default pools all pixels
    assert score.details["pooled"] == pytest.approx(pooled.item(), abs=1e-4)
    assert score.value - float(score.details["pooled"]) > 3.0
    assert score.details["std"] == pytest.approx(
        torch.tensor(score.per_image).std(correction=0).item(), abs=1e-4
    )


def test_parts_merge_into_the_whole() -> None:
    real = pictures(2, count=6)
    fake = noisy(real, torch.arange(1.0, 7.0))
    whole, first, second = PSNR(PROTOCOL), PSNR(PROTOCOL), PSNR(PROTOCOL)
    whole.update(real, fake)
    first.update(real[:2], fake[:2])
    second.update(real[2:], fake[2:])
    first.merge(second)
    assert first.compute() == whole.compute()


def test_equal_pictures_are_infinite() -> None:
    metric = PSNR(PROTOCOL)
    metric.update(pictures(3), pictures(3))
    assert metric.compute().value == math.inf


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        PSNR(PROTOCOL).compute()
