"""Points of rate and distortion: written to a file, read back, decoded, and what they cost is the file."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.errors import EvaluationError
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from eval.protocols import canon_v1
from eval.rate import coder, file
from eval.rate.points import CPU, CodedSet, Setting, point, settings
from tokenizer.model import Autoencoder
from tokenizer.spec import PartSpec

Toy = Callable[..., Autoencoder]
PROTOCOL = canon_v1(32, "fail")


@pytest.fixture
def means(toy: Toy) -> Autoencoder:
    return toy(lambda x: F.avg_pool2d(x, 4), lambda z: F.interpolate(z, scale_factor=4.0), 3, 4)


def test_half_of_the_pictures_fit_and_the_others_are_coded(means: Autoencoder, smooth: Tensor) -> None:
    found = CodedSet.encoded(means, smooth, 2, CPU)
    assert torch.equal(found.real, smooth[1::2])
    assert torch.equal(
        torch.cat([latent.z for latent in found.fitting]), F.avg_pool2d(from_uint8(smooth[0::2]), 4)
    )
    assert [len(batch) for batch in found.batches] == [2, 1]
    with pytest.raises(EvaluationError, match="at least 2"):
        CodedSet.encoded(means, smooth[:1], 2, CPU)


def test_a_point_is_what_its_file_holds(means: Autoencoder, smooth: Tensor, tmp_path: Path) -> None:
    coded = CodedSet.encoded(means, smooth, 2, CPU)
    found = point(means, coded, Setting("step 0.1", step=0.1), tmp_path, PROTOCOL)
    path = tmp_path / "rate" / "step_0.1.safetensors"
    stored = file.read(path)
    assert (found.file, found.file_bytes) == ("rate/step_0.1.safetensors", path.stat().st_size)
    assert found.bits_per_pixel == pytest.approx(sum(stored.picture_bytes()) * 8 / 3 / 32**2)
    # from the file alone, without any of the objects that wrote it
    levels = [
        torch.stack([torch.from_numpy(row) + low for row, low in zip(rows, stored.about["low"], strict=True)])
        for rows in (coder.decode(s, stored.tables, stored.about["row_lengths"]) for s in stored.streams)
    ]
    z = torch.stack(levels).double().view(3, 3, 8, 8) * stored.about["step"]
    fake = to_uint8(F.interpolate(z.float(), scale_factor=4.0))
    assert found.psnr == pytest.approx(float(decibels(mean_squared_error(coded.real, fake)).mean()), abs=1e-6)
    assert (
        found.ideal_bits_per_pixel <= found.bits_per_pixel <= found.ideal_bits_per_pixel + (64 + 64) / 32**2
    )
    low, high = found.bits_per_pixel_ci95
    assert low <= found.bits_per_pixel <= high


def test_finer_steps_cost_more_and_give_more(means: Autoencoder, smooth: Tensor, tmp_path: Path) -> None:
    coded = CodedSet.encoded(means, smooth, 3, CPU)
    found = [
        point(means, coded, setting, tmp_path, PROTOCOL)
        for setting in settings(means.spec.z, (1.0, 0.3, 0.05))
    ]
    assert [item.setting for item in found] == ["step 1", "step 0.3", "step 0.05"]
    assert [item.bits_per_pixel for item in found] == sorted(item.bits_per_pixel for item in found)
    assert [item.psnr for item in found] == sorted(item.psnr for item in found)
    with torch.inference_mode():
        exact = to_uint8(means.decode(means.encode(from_uint8(coded.real))))
    limit = float(decibels(mean_squared_error(coded.real, exact)).mean())
    assert found[-1].psnr == pytest.approx(limit, abs=0.1)


def test_a_file_that_gives_back_something_else_is_an_error(
    means: Autoencoder, smooth: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = coder.decode

    def forgetful(*given: object) -> list[coder.Row]:
        rows = honest(*given)  # type: ignore[arg-type]
        rows[0] = rows[0].copy()
        rows[0][5] ^= 1
        return rows

    monkeypatch.setattr(coder, "decode", forgetful)
    coded = CodedSet.encoded(means, smooth, 3, CPU)
    with pytest.raises(EvaluationError, match="bit for bit"):
        point(means, coded, Setting("step 1", step=1.0), tmp_path, PROTOCOL)


def test_settings_of_each_kind_of_latent() -> None:
    grid = PartSpec(channels=4, spatial_factor=8, codebook_size=16)
    assert settings(grid, (1.0,)) == [Setting("all codes")]
    row = PartSpec(layout="1d", channels=4, num_tokens=(8, 64), codebook_size=16)
    assert [item.num_tokens for item in settings(row, (1.0,))] == [64, 32, 16, 8]
    fixed = row.model_copy(update={"num_tokens": 64})
    assert settings(fixed, (1.0,)) == [Setting("all codes")]
    assert math.isclose(settings(PartSpec(channels=4), (0.5,))[0].step or 0.0, 0.5)
