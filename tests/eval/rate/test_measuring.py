"""A tokenizer beside picture codecs on the same pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.metrics.psnr import decibels, mean_squared_error
from eval.protocols import canon_v1
from eval.rate import measuring
from eval.rate.measuring import Codec, measure
from eval.rate.points import CPU
from eval.rate.record import RateRecord
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec, PartSpec

Toy = Callable[..., Autoencoder]
PROTOCOL = canon_v1(32, "fail")
FSQ = {
    "backbone": {
        "kind": "dcae",
        "latent_channels": 4,
        "widths": [8, 8, 8],
        "encoder_depths": [0, 1, 1],
        "decoder_depths": [0, 1, 1],
        "blocks": ["res", "res", "res"],
        "decoder_norms": ["rms", "rms", "rms"],
        "decoder_activations": ["silu", "silu", "silu"],
    },
    "bottleneck": {"kind": "fsq", "levels": [5, 4, 3, 3]},
}


def rate(tokenizer: Autoencoder, pictures: Tensor, folder: Path, **changes: object) -> RateRecord:
    given = {"steps": (1.0, 0.1), "codecs": ("jpeg", "webp", "avif"), "batch_size": 4} | changes
    return measure(tokenizer, pictures, folder=folder, protocol=PROTOCOL, device=CPU, **given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def few_qualities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CURVE_QUALITIES", (1, 50, 90))


def test_points_curves_and_matches(toy: Toy, smooth: Tensor, tmp_path: Path) -> None:
    tokenizer = toy(lambda x: F.avg_pool2d(x, 2), lambda z: F.interpolate(z, scale_factor=2.0), 3, 2)
    found = rate(tokenizer, smooth, tmp_path)
    assert (found.num_fitted, found.num_images, len(found.points)) == (3, 3, 2)
    assert found.codecs.keys() == {"jpeg", "webp", "avif"}
    for points in found.codecs.values():
        assert [item.bits_per_pixel for item in points] == sorted(item.bits_per_pixel for item in points)
        assert points[-1].psnr > points[0].psnr + 3
    assert len(found.matches) == 2 * 3
    for match in found.matches:
        point = next(item for item in found.points if item.setting == match.setting)
        if match.best is None:
            assert match.gain is None
            continue
        assert match.best.bits_per_pixel <= point.bits_per_pixel
        assert match.gain == pytest.approx(point.psnr - match.best.psnr)
    assert any(match.best is not None for match in found.matches)
    assert RateRecord.parse(found.model_dump(mode="json")) == found


def test_a_codec_is_measured_on_the_coded_pictures(smooth: Tensor) -> None:
    codec = Codec("jpeg", smooth, PROTOCOL)
    best = codec.curve()[-1]
    coded = codec._search.at(best.quality)  # the same files again
    assert best.bits_per_pixel == pytest.approx(coded.mean_bits / 32**2)
    assert best.psnr == pytest.approx(float(decibels(mean_squared_error(smooth, coded.pictures)).mean()))


def test_codes_of_a_real_quantizer(smooth: Tensor, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = TokenizerConfig.parse(FSQ).build().eval()
    channels = tokenizer.spec.z.channels
    tokenizer.spec = tokenizer.spec.with_statistics({"z": ([0.0] * channels, [1.0] * channels)})
    found = rate(tokenizer, smooth, tmp_path, codecs=())
    (point,) = found.points
    assert point.setting == "all codes"
    assert point.fixed_bits_per_pixel == pytest.approx(tokenizer.spec.bits((32, 32)) / 32**2)


def test_what_has_no_rate_says_why(toy: Toy, smooth: Tensor, tmp_path: Path) -> None:
    tokenizer = toy(lambda x: x, lambda z: z, 3, 1)
    fine = rate(tokenizer, smooth, tmp_path, steps=(1e-7,), codecs=())
    assert fine.points == ()
    assert "step larger" in fine.missing["step 1e-07"]
    parts = tuple(PartSpec(name=name, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3) for name in ("a", "b"))
    tokenizer.spec = LatentSpec(parts=parts)
    assert "one part" in rate(tokenizer, smooth, tmp_path).missing["rate"]
