"""Measured latents have zero mean and unit variance, however they were batched."""

from pathlib import Path

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.data.pack import PackConfig, pack
from tokenizer.loading import load, spec_id_of
from tokenizer.stats import Moments, StatsConfig, StatsData, measure, pictures, run


def test_moments_match_the_definition() -> None:
    z = 3 + 2 * torch.randn(10, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    moments = Moments(2)
    for part in z.split([3, 1, 6]):
        moments.add(part)
    mean, std = moments.mean_std()
    assert mean == pytest.approx(z.double().mean(dim=(0, 2, 3)).tolist())
    assert std == pytest.approx(z.double().std(dim=(0, 2, 3), correction=0).tolist())


def test_a_constant_channel_is_refused() -> None:
    moments = Moments(1)
    moments.add(torch.ones(4, 1, 2, 2))
    with pytest.raises(ValueError, match="constant"):
        moments.mean_std()


def test_a_code_may_have_a_channel_that_never_changes() -> None:
    moments = Moments(2)
    moments.add(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    assert moments.mean_std(discrete=True) == ([1.0, 0.0], [1.0, 1.0])
    moments.add(torch.full((1, 2), float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        moments.mean_std(discrete=True)


def test_pictures_are_spread_evenly(photographs: Path) -> None:
    data = StatsData(path=photographs, resolution=16, num_images=4, batch=3, num_workers=0)
    assert [tuple(x.shape) for x in pictures(data, "cpu")] == [(3, 3, 16, 16), (1, 3, 16, 16)]


def test_shards_give_the_pictures_of_their_folder(photographs: Path, tmp_path: Path) -> None:
    pack(PackConfig(path=photographs, out=tmp_path / "shards", shard_images=9))
    (one,), (two,) = (
        pictures(StatsData(path=path, resolution=16, num_images=7, num_workers=0), "cpu")
        for path in (photographs, tmp_path / "shards")
    )
    assert torch.equal(one, two)


def test_measured_latents_are_normal(tiny_config: TokenizerConfig, photographs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny_config.build()
    settings = {
        "kind": "tokenizer",
        "model": tiny_config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
    }
    checkpoint.save_folder(tmp_path / "m", settings, {"model": model.state_dict()})
    before = spec_id_of(tmp_path / "m")
    data = StatsData(path=photographs, resolution=32, num_images=48, batch=8, num_workers=0)
    run(StatsConfig(source=tmp_path / "m", data=data, device="cpu"))
    loaded = load(tmp_path / "m")
    assert loaded.spec_id != before
    z = torch.cat([loaded.encode(x).z for x in pictures(data, "cpu")])
    assert torch.allclose(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(z.std(dim=(0, 2, 3), correction=0), torch.ones(4), atol=1e-4)
    spec, projection = measure(loaded, pictures(data, "cpu"))
    assert spec.has_statistics
    assert projection is not None
    assert loaded.projection == projection  # of the same pictures and the same latent space


def test_a_projection_alone_leaves_the_latent_space(
    tiny_config: TokenizerConfig, photographs: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = tiny_config.build()
    settings = {
        "kind": "tokenizer",
        "model": tiny_config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
    }
    checkpoint.save_folder(tmp_path / "m", settings, {"model": model.state_dict()})
    data = StatsData(path=photographs, resolution=32, num_images=8, batch=8, num_workers=0)
    config = StatsConfig(source=tmp_path / "m", data=data, what="projection", device="cpu")
    with pytest.raises(ValueError, match="no latent statistics yet"):
        run(config)
    spec = model.spec.with_statistics({"z": ([0.5] * 4, [2.0] * 4)})
    checkpoint.save_folder(
        tmp_path / "m", settings | {"spec": spec.model_dump(mode="json")}, {"model": model.state_dict()}
    )
    before = spec_id_of(tmp_path / "m")
    assert load(tmp_path / "m").projection is None
    assert run(config) == spec
    assert spec_id_of(tmp_path / "m") == before
    loaded = load(tmp_path / "m")
    assert loaded.projection is not None
    (x,) = pictures(data, "cpu")
    seen = loaded.projection.rgb(loaded.encode(x).z)
    colours = torch.nn.functional.avg_pool2d(x, 4)
    left = (seen - colours).square().mean() / (
        colours - colours.mean((0, 2, 3), keepdim=True)
    ).square().mean()
    assert float(left) == pytest.approx(1 - loaded.projection.explained, abs=1e-3)
    assert left < 0.9  # even a random encoder sees some colour
