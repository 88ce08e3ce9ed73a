"""SSIM against scikit-image and torchmetrics with explicit arguments, and the data range trap."""

import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from eval.metrics.ssim import SSIM, ssim
from eval.protocols import canon_v1


def pair(side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures and blurred, noisy copies: neither 0 nor 1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 6, 6, generator=generator)
    real = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    fake = (real + 0.08 * torch.randn(real.shape, generator=generator)).clamp(0, 1)
    return (real * 255).round().to(torch.uint8), (fake * 255).round().to(torch.uint8)


def test_equals_scikit_image() -> None:
    real, fake = pair()
    expected = [
        structural_similarity(
            a.permute(1, 2, 0).numpy(),
            b.permute(1, 2, 0).numpy(),
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(real, fake, strict=True)
    ]
    assert ssim(real, fake).tolist() == pytest.approx(expected, abs=1e-9)


def test_equals_torchmetrics_with_explicit_arguments_where_it_does_not_pad() -> None:
    """Its own mean includes a border of reflected pixels, which moves these pictures by 0.06."""
    real, fake = pair()
    result = structural_similarity_index_measure(
        fake.double(), real.double(), data_range=255.0, sigma=1.5, kernel_size=11, return_full_image=True
    )
    assert isinstance(result, tuple)
    inside = result[1][..., 5:-5, 5:-5].flatten(1).mean(dim=1)
    assert ssim(real, fake).tolist() == pytest.approx(inside.tolist(), abs=1e-9)
    assert (ssim(real, fake).mean() - result[0]).abs() > 0.01


def test_the_data_range_is_part_of_the_number() -> None:
    real, fake = pair()
    doubled = ssim(real, fake, data_range=510.0).mean()
    assert doubled - ssim(real, fake).mean() > 0.03  # twice the range flatters


def test_identity_is_one_and_it_is_symmetric() -> None:
    real, fake = pair()
    assert ssim(real, real).tolist() == pytest.approx([1.0] * 3, abs=1e-12)
    assert ssim(real, fake).tolist() == pytest.approx(ssim(fake, real).tolist(), abs=1e-12)


def test_small_pictures_are_refused() -> None:
    tiny = torch.zeros(1, 3, 10, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(tiny, tiny)


def test_metric_is_the_mean_and_merges() -> None:
    real, fake = pair()
    protocol = canon_v1(48, "fail")
    whole, first, second = SSIM(protocol), SSIM(protocol), SSIM(protocol)
    whole.update(real, fake)
    first.update(real[:1], fake[:1])
    second.update(real[1:], fake[1:])
    first.merge(second)
    assert whole.compute().value == pytest.approx(ssim(real, fake).mean().item(), abs=1e-12)
    assert first.compute() == whole.compute()
