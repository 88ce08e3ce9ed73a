"""SSIM against scikit-image and torchmetrics with explicit arguments, and the data range trap."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from eval.errors import NotComputedError
from eval.metrics.ssim import MSSSIM, SSIM, ms_ssim, smallest_side, ssim
from eval.pixels import from_uint8
from eval.protocols import SSIM_IMPLEMENTATIONS, SSIMSettings, canon_v1, protocol


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
    doubled = ssim(real, fake, SSIMSettings(data_range=510.0)).mean()
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


def test_scikit_images_default_is_equalled() -> None:
    """A uniform window of 7 with sample covariances."""
    real, fake = pair()
    expected = [
        structural_similarity(
            a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), data_range=255, channel_axis=-1
        )
        for a, b in zip(real, fake, strict=True)
    ]
    assert ssim(real, fake, SSIM_IMPLEMENTATIONS["skimage"]).tolist() == pytest.approx(expected, abs=1e-9)


def test_torchmetrics_default_is_equalled() -> None:
    """Mirrored borders that count."""
    real, fake = pair()
    expected = structural_similarity_index_measure(
        fake.double(), real.double(), data_range=255.0, reduction="none"
    )
    assert isinstance(expected, torch.Tensor)
    made = ssim(real, fake, SSIM_IMPLEMENTATIONS["torchmetrics"])
    assert made.tolist() == pytest.approx(expected.tolist(), abs=1e-9)


def test_llamagens_quirk_is_equalled() -> None:
    """Its data range of 2 on [0, 1] flatters; the fixed one does not."""
    real, fake = pair()
    numbers = {}
    for name, data_range in (("llamagen", 2.0), ("llamagen-fixed", 1.0)):
        expected = [
            structural_similarity(
                a.permute(1, 2, 0).numpy() / 255,
                b.permute(1, 2, 0).numpy() / 255,
                data_range=data_range,
                channel_axis=-1,
            )
            for a, b in zip(real, fake, strict=True)
        ]
        made = ssim(real, fake, protocol(name, 48).ssim)
        assert made.tolist() == pytest.approx(expected, abs=1e-9)
        numbers[name] = made.mean().item()
    assert numbers["llamagen"] - numbers["llamagen-fixed"] > 0.03


def test_vavaes_quirk_is_equalled() -> None:
    """torchmetrics with a range of (-1, 1) on [-1, 1] takes luminance about zero."""
    real, fake = (from_uint8(x).double() for x in pair())
    metric = structural_similarity_index_measure(fake, real, data_range=(-1.0, 1.0), reduction="none")
    assert isinstance(metric, torch.Tensor)
    made = ssim(real, fake, protocol("vavae", 48).ssim)
    assert made.tolist() == pytest.approx(metric.tolist(), abs=1e-9)
    fixed = ssim(real, fake, protocol("vavae-fixed", 48).ssim)
    assert (fixed - made).mean() > 0.005


def wang_2003(x: np.ndarray, y: np.ndarray, weights: tuple[float, ...]) -> float:
    """MS-SSIM of one channel from its definition, by scipy's convolution."""
    positions = np.arange(11) - 5
    line = np.exp(-(positions**2) / (2 * 1.5**2))
    kernel = np.outer(line, line) / line.sum() ** 2

    def blur(a: np.ndarray) -> np.ndarray:
        return np.asarray(convolve2d(a, kernel, mode="valid"))

    product = 1.0
    for scale, weight in enumerate(weights):
        mean_x, mean_y = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
        contrast = (2 * cov + 58.5225) / (vx + vy + 58.5225)
        light = (2 * mean_x * mean_y + 6.5025) / (mean_x**2 + mean_y**2 + 6.5025)
        last = scale == len(weights) - 1
        product *= max(0.0, float((contrast * light if last else contrast).mean())) ** weight
        x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3)) if not last else x
        y = y.reshape(y.shape[0] // 2, 2, y.shape[1] // 2, 2).mean(axis=(1, 3)) if not last else y
    return product


def test_ms_ssim_is_that_of_the_paper() -> None:
    real, fake = pair(side=176)
    weights = canon_v1(176, "fail").ms_ssim.scales
    expected = [
        np.mean([wang_2003(a[c].double().numpy(), b[c].double().numpy(), weights) for c in range(3)])
        for a, b in zip(real, fake, strict=True)
    ]
    assert ms_ssim(real, fake, weights=weights).tolist() == pytest.approx(expected, abs=1e-9)
    assert abs(np.mean(expected) - ssim(real, fake).mean().item()) > 0.02
    metric = MSSSIM(canon_v1(176, "fail"))
    metric.update(real, fake)
    assert metric.compute().value == pytest.approx(float(np.mean(expected)), abs=1e-9)


def test_ms_ssim_of_odd_sides_and_of_equal_pictures() -> None:
    real, _ = pair(side=175)
    weights = canon_v1(175, "fail").ms_ssim.scales
    assert ms_ssim(real, real, weights=weights).tolist() == pytest.approx([1.0] * 3, abs=1e-12)


def test_ms_ssim_of_numbered_parts_is_that_of_one_pass() -> None:
    real, fake = pair(side=176)
    whole, first, second = (MSSSIM(canon_v1(176, "fail")) for _ in range(3))
    whole.update(real, fake)
    second.update(real[1:], fake[1:], [1, 2])
    first.update(real[:1], fake[:1], [0])
    second.merge(first)
    assert second.compute() == whole.compute()


def test_a_range_taken_from_batches_is_torchmetrics_without_one() -> None:
    """In whatever parts the pictures come: the batches are those of the set's order."""
    real, fake = (torch.cat([x, 255 - x, x // 2 + 40]) for x in pair(side=24))
    settings = SSIMSettings(padding="reflect", range_of_batches=4)
    expected = torch.cat(
        [
            torch.atleast_1d(
                structural_similarity_index_measure(  # type: ignore[arg-type]  # a tensor, without images asked for
                    fake[i : i + 4].double(), real[i : i + 4].double(), reduction="none"
                )
            )
            for i in range(0, 9, 4)
        ]
    )
    named = canon_v1(24, "fail")
    whole, first, second = (SSIM(named, settings) for _ in range(3))
    whole.update(real, fake)
    assert whole.compute().per_image == pytest.approx(expected.tolist(), abs=1e-9)
    second.update(real[3:], fake[3:], range(3, 9))
    first.update(real[:3], fake[:3], range(3))
    second.merge(first)
    assert second.compute() == whole.compute()
    fixed = SSIM(named, SSIMSettings(padding="reflect"))
    fixed.update(real, fake)
    assert abs(fixed.compute().value - whole.compute().value) > 1e-3


def test_ms_ssim_of_small_pictures_is_not_computed() -> None:
    assert smallest_side(5) == 161
    with pytest.raises(NotComputedError, match="at least 161"):
        MSSSIM(canon_v1(160, "fail"))
    tiny = torch.zeros(1, 3, 160, 200, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least 161 pixels, got 160"):
        ms_ssim(tiny, tiny, weights=(0.2,) * 5)


def test_floats_give_what_their_bytes_give() -> None:
    real, fake = pair()
    made = ssim(from_uint8(real), from_uint8(fake), SSIMSettings(domain="clamped"))
    torch.testing.assert_close(made, ssim(real, fake), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="floats about"):
        ssim(real, fake, SSIMSettings(domain="clamped"))
