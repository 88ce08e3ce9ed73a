"""The latents of a whole set, in shards or at once, against what their tensors say."""

import math

import pytest
import torch

from eval.latent_health import BIN, REACH, LatentHealth, LatentRecord
from tokenizer.spec import Latent, LatentSpec, PartSpec

UNIT = {"z": ([0.5] * 4, [2.0] * 4)}


def normal(count: int = 20, side: int = 8) -> torch.Tensor:
    return torch.randn(count, 4, side, side, generator=torch.Generator().manual_seed(0))


def health(spec: LatentSpec, *latents: Latent) -> LatentHealth:
    found = LatentHealth(spec)
    for latent in latents:
        found.update(latent)
    return found


def test_a_continuous_grid() -> None:
    spec, z = LatentSpec.image(4, 4).with_statistics(UNIT), normal()
    record = health(spec, Latent({"z": z}, (32, 32))).compute(20 * 32 * 32)
    (part,) = record.parts
    assert record.normalised
    assert part.channels is not None
    values = z.double().transpose(0, 1).flatten(1)
    assert part.channels.mean == pytest.approx(values.mean(dim=1).tolist())
    assert part.channels.std == pytest.approx(values.std(dim=1, correction=0).tolist())
    assert part.effective_rank == pytest.approx(4.0, abs=0.02)
    assert len(part.eigenvalues) == 4
    assert part.spectrum is not None
    assert part.spectrum.slope == pytest.approx(0.0, abs=0.2)
    assert sum(part.histogram) == z.numel()
    place = part.histogram.index(max(part.histogram)) - 1
    assert abs(-REACH + (place + 0.5) * BIN) < 0.6
    assert (part.far, part.dead, part.codebooks, part.missing) == (0.0, 0.0, (), {})
    assert LatentRecord.parse(record.model_dump(mode="json")) == record


def test_outliers_are_counted_and_named() -> None:
    spec, z = LatentSpec.image(4, 4).with_statistics(UNIT), normal()
    z[3, 2, 1, 1] = 50.0
    z[5, 2, 1, 1] = -7.0
    (part,) = health(spec, Latent({"z": z}, (32, 32))).compute(1).parts
    assert part.far == 2 / z.numel()
    assert part.channels is not None
    assert max(range(4), key=part.channels.peak.__getitem__) == 2
    assert (part.histogram[-1], part.histogram[round((REACH - 7.0) / BIN) + 1]) == (1, 1)


def test_indices_have_bits() -> None:
    """Half of 8 codes, equally often: 3 bits as numbers, 2 by their entropy."""
    spec = LatentSpec.image(4, 4, codebook_size=8).with_statistics(UNIT)
    indices = (torch.arange(64) % 4).view(1, 8, 8).expand(10, 8, 8)
    (part,) = (
        health(spec, Latent({"z": normal(10)}, (32, 32), "", {"z": indices})).compute(10 * 32 * 32).parts
    )
    (book,) = part.codebooks
    assert (book.size, book.used, book.dead, book.num_tokens) == (8, 4, 4, 640)
    assert book.perplexity == pytest.approx(4.0)
    assert part.fixed_bits_per_pixel == pytest.approx(64 * 3 / 1024)
    assert part.entropy_bits_per_pixel == pytest.approx(64 * 2 / 1024)


def test_indices_alone_are_enough() -> None:
    spec = LatentSpec.image(4, 4, codebook_size=8)
    found = health(spec, Latent({}, (32, 32), "", {"z": torch.zeros(2, 8, 8, dtype=torch.int64)}))
    record = found.compute(2 * 1024)
    assert not record.normalised
    assert (record.parts[0].count, record.parts[0].channels) == (0, None)
    assert record.parts[0].entropy_bits_per_pixel == 0.0


def test_shards_merge_in_any_cut() -> None:
    spec = LatentSpec.image(4, 4, codebook_size=8).with_statistics(UNIT)
    z, indices = normal(13), torch.randint(0, 8, (13, 8, 8), generator=torch.Generator().manual_seed(1))
    whole = health(spec, Latent({"z": z}, (32, 32), "", {"z": indices}))
    merged, worker = LatentHealth(spec), LatentHealth(spec)
    for start in (0, 5, 10):
        part = slice(start, start + 5)
        worker.update(Latent({"z": z[part]}, (32, 32), "", {"z": indices[part]}))
        state = worker.take()
        assert {value.dtype for value in state.values()} <= {torch.float64, torch.int64}
        merged.add_state(state)
    first, second = (found.compute(13 * 1024).model_dump() for found in (whole, merged))
    assert first["parts"][0]["codebooks"] == second["parts"][0]["codebooks"]
    assert first["parts"][0]["histogram"] == second["parts"][0]["histogram"]
    assert second["parts"][0]["eigenvalues"] == pytest.approx(first["parts"][0]["eigenvalues"], rel=1e-12)
    assert second["parts"][0]["spectrum"]["slope"] == pytest.approx(
        first["parts"][0]["spectrum"]["slope"], rel=1e-9
    )
    again = LatentHealth(spec)
    again.merge(merged)
    assert again.compute(13 * 1024) == merged.compute(13 * 1024)


def test_rows_of_tokens_small_grids_and_flat_ones_say_what_they_lack() -> None:
    row = PartSpec(layout="1d", channels=4, num_tokens=16)
    (part,) = health(LatentSpec(parts=(row,)), Latent({"z": normal(3)[:, :, 0]}, (32, 32))).compute(1).parts
    assert "no plane" in part.missing["spectrum"]
    assert part.effective_rank is not None
    (part,) = health(LatentSpec.image(4, 16), Latent({"z": normal(3, 2)}, (32, 32))).compute(1).parts
    assert "at least 4 x 4" in part.missing["spectrum"]
    (part,) = health(LatentSpec.image(4, 4), Latent({"z": torch.ones(2, 4, 8, 8)}, (32, 32))).compute(1).parts
    assert part.missing.keys() == {"effective_rank", "spectrum"}
    assert not any(math.isnan(value) for value in part.channels.peak) if part.channels else False
