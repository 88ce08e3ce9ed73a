"""A tokenizer's health under change, on a random network and with every reason where there is none."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from eval.health import AsMeasured, HealthRecord, measure
from eval.measures.equivariance import TRANSFORMS
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.loading import load
from tokenizer.model import Tokenizer
from tokenizer.spec import LatentSpec, PartSpec
from tokenizer.tiling import TilePlan

CPU = torch.device("cpu")


@pytest.fixture
def real() -> Tensor:
    return torch.randint(
        0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def health(
    tokenizer: Tokenizer, real: Tensor, tiles: TilePlan | None = None, dtype: torch.dtype = torch.float32
) -> HealthRecord:
    return measure(
        tokenizer,
        real,
        device=CPU,
        dtype=dtype,
        tiles=tiles,
        batch_size=2,
        generations=2,
        noise_strength=0.5,
    )


def test_everything_of_an_ordinary_tokenizer(tokenizer_folder: Path, real: Tensor) -> None:
    tokenizer = load(tokenizer_folder)
    found = health(tokenizer, real)
    assert (found.num_images, found.missing) == (3, {})
    assert found.equivariance.keys() == TRANSFORMS.keys()
    assert all(item.error > 0 for item in found.equivariance.values())
    with torch.inference_mode():
        fake = to_uint8(tokenizer.decode(tokenizer.encode(from_uint8(real))))
    psnr = float(decibels(mean_squared_error(real, fake)).mean())
    assert found.drift is not None
    assert found.drift.psnr[0] == pytest.approx(psnr, abs=0.05)
    assert len(found.drift.step) == 2
    assert found.seams is not None
    assert found.seams.psnr_whole == pytest.approx(psnr, abs=0.05)
    assert found.seams.tiles == "20 pixels, overlap 8"
    assert (found.noise, found.psnr_noise is not None, found.cycle_error is not None) == (0.5, True, True)
    assert HealthRecord.parse(found.model_dump(mode="json")) == found


def test_the_jobs_tiles_and_dtype_are_used(tokenizer_folder: Path, real: Tensor) -> None:
    plan = TilePlan(16, 4)
    found = health(load(tokenizer_folder, dtype=torch.bfloat16), real, plan, torch.bfloat16)
    assert found.seams is not None
    assert found.seams.tiles == "16 pixels, overlap 4"
    tokenizer = load(tokenizer_folder)
    tiled = AsMeasured(tokenizer, torch.float32, plan)
    with torch.inference_mode():
        latent = tiled.encode(from_uint8(real))
        assert torch.equal(latent.z, tokenizer.encode(from_uint8(real), tiles=plan).z)
        assert torch.equal(tiled.decode(latent), tokenizer.decode(latent, tiles=plan))
    assert (tiled.spec, tiled.spec_id) == (tokenizer.spec, tokenizer.spec_id)


def test_what_a_family_does_not_have_is_missing_with_its_reason(tokenizer_folder: Path, real: Tensor) -> None:
    class Row(AsMeasured):
        """Says that its latent is a row."""

        @property
        def spec(self) -> LatentSpec:
            part = PartSpec(layout="1d", channels=4, num_tokens=64, mean=(0.0,) * 4, std=(1.0,) * 4)
            return LatentSpec(parts=(part,))

    found = health(Row(load(tokenizer_folder), torch.float32), real)
    assert {"equivariance.rot90", "equivariance.scale", "equivariance.shift", "seams"} <= found.missing.keys()
    assert all("grid" in found.missing[name] for name in ("equivariance.shift", "seams"))
    assert found.drift is not None
