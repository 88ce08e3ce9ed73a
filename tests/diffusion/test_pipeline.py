"""Sampling from labels and seeds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffusion import model_folder
from diffusion.backbones.dit import DiTConfig
from diffusion.generators.rectified_flow import RectifiedFlow, RectifiedFlowConfig
from diffusion.model_folder import GeneratorRecord
from diffusion.pipeline import Pipeline
from tokenizer import loading
from tokenizer.core import checkpoint
from tokenizer.data.transforms import to_uint8
from tokenizer.loading import load, spec_id_of
from tokenizer.spec import Latent

CLASSES = ("circles", "noise", "stripes")


@pytest.fixture(scope="module")
def folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of (8, 4, 4) latents whose output depends on everything."""
    record = GeneratorRecord(
        model=DiTConfig(depth=2, width=32, heads=4),
        generator=RectifiedFlowConfig(shift=1.5),
        spec_id=spec_id_of(tokenizer_folder),
        latent_shape=(8, 4, 4),
        size=(16, 16),
        class_names=CLASSES,
    )
    torch.manual_seed(0)
    network = record.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("generator") / "shapes"
    checkpoint.save_folder(path, record.model_dump(mode="json"), {"model": network.state_dict()})
    return path


@pytest.fixture
def pipeline(folder: Path, tokenizer_folder: Path) -> Pipeline:
    return Pipeline.load(folder, tokenizer=tokenizer_folder)


def latents(pipeline: Pipeline, labels: object, seed: object, **settings: object) -> Tensor:
    result = pipeline.generate(labels, seed, 4, 3.0, output="latent", **settings)  # type: ignore[call-overload]
    assert isinstance(result, Latent)
    return result.z


def test_the_seed_decides(pipeline: Pipeline) -> None:
    first = latents(pipeline, [0, 1], 5)
    assert torch.equal(latents(pipeline, [0, 1], 5), first)
    assert not torch.allclose(latents(pipeline, [0, 1], 7), first, atol=1e-2)
    torch.manual_seed(123)  # the global state does not count
    assert torch.equal(latents(pipeline, [0, 1], 5), first)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_picture_is_the_same_whoever_else_is_in_its_batch(pipeline: Pipeline, sampler: str) -> None:
    together = latents(pipeline, [0, 1, 2, 1], [5, 6, 7, 8], sampler=sampler)
    other_neighbours = latents(pipeline, [2, 1, 0, 0], [50, 6, 70, 80], sampler=sampler)
    assert torch.equal(together[1], other_neighbours[1])
    assert torch.equal(latents(pipeline, [0, 1, 2, 1], 5, sampler=sampler), together)  # seed + i
    for batch in (1, 3):
        assert torch.allclose(
            latents(pipeline, [0, 1, 2, 1], 5, sampler=sampler, batch=batch), together, atol=1e-5
        )
    assert torch.allclose(latents(pipeline, 2, 7, sampler=sampler)[0], together[2], atol=1e-5)


def test_names_and_indices_mean_the_same(pipeline: Pipeline) -> None:
    assert pipeline.class_names == CLASSES
    assert torch.equal(latents(pipeline, ["noise", "stripes"], 0), latents(pipeline, [1, 2], 0))
    assert not torch.allclose(latents(pipeline, [1], 0), latents(pipeline, [2], 0), atol=1e-2)


def test_no_class_is_the_null_label_and_guidance_does_nothing_to_it(pipeline: Pipeline) -> None:
    assert pipeline.encode_labels([None, 0]).tolist() == [3, 0]
    plain = pipeline.generate([None], 0, 4, 1.0, output="latent").z
    assert torch.allclose(latents(pipeline, None, 0), plain, atol=1e-4)


def test_guidance_one_needs_no_null_and_others_change_every_channel(pipeline: Pipeline) -> None:
    eps, y = pipeline.noise([0, 1]), pipeline.encode_labels([0, 1])
    flow = RectifiedFlow(shift=1.5)
    with torch.no_grad():  # attention has another order of sums where gradients are wanted
        expected = flow.sample(pipeline.denoiser, eps, y, num_steps=4)
    assert torch.equal(pipeline.generate([0, 1], 0, 4, 1.0, output="latent").z, expected)
    moved = (latents(pipeline, [0, 1], 0) - expected).abs().amax(dim=(2, 3))
    assert (moved > 1e-4).all()  # B C


def test_outputs_are_three_views_of_one_result(pipeline: Pipeline, tokenizer_folder: Path) -> None:
    latent = pipeline.generate([0, 1], 3, 4, output="latent")
    assert (latent.size, latent.spec_id) == ((16, 16), spec_id_of(tokenizer_folder))
    pixels = pipeline.generate([0, 1], 3, 4, output="pixels")
    assert torch.equal(pixels, load(tokenizer_folder).decode(latent).clamp(-1, 1))
    pictures = pipeline.generate([0, 1], 3, 4)
    assert all(picture.mode == "RGB" for picture in pictures)
    expected = to_uint8(pixels).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), expected)


def test_slots_at_different_times_end_where_whole_runs_do(pipeline: Pipeline) -> None:
    """A server that admits a second picture two steps late, with other steps and guidance."""
    first_times, late_times = pipeline.generator.times(6), pipeline.generator.times(4)
    z, y = pipeline.noise([5, 6]), pipeline.encode_labels([0, 2])
    guidance = torch.tensor([3.0, 1.0])
    for tick in range(6):
        late = tick - 2
        t = torch.stack([first_times[tick], late_times[max(late, 0)]])
        t_next = torch.stack([first_times[tick + 1], late_times[max(late, -1) + 1]])
        z = pipeline.step(z, t, t_next, y, guidance)
    assert torch.allclose(z[0], pipeline.generate([0], 5, 6, 3.0, output="latent").z[0], atol=1e-4)
    assert torch.allclose(z[1], pipeline.generate([2], 6, 4, 1.0, output="latent").z[0], atol=1e-4)


def test_a_step_does_not_depend_on_the_other_slots(pipeline: Pipeline) -> None:
    z, times = pipeline.noise([1, 2, 3]), pipeline.generator.times(5)
    y, guidance = pipeline.encode_labels([0, 1, 2]), torch.tensor([2.0, 1.0, 4.0])
    t, t_next = times[[0, 2, 4]], times[[1, 3, 5]]
    out = pipeline.step(z, t, t_next, y, guidance)
    z_other, t_other, next_other = z.clone(), t.clone(), t_next.clone()
    z_other[[0, 2]], t_other[[0, 2]], next_other[[0, 2]] = 9.0, 0.3, 0.1
    other = pipeline.step(
        z_other, t_other, next_other, torch.tensor([2, 1, 0]), torch.tensor([1.0, 1.0, 7.0])
    )
    assert torch.equal(other[1], out[1])


def test_a_step_without_guidance_is_that_of_the_class_alone(pipeline: Pipeline) -> None:
    z, times = pipeline.noise([1, 2]), pipeline.generator.times(5)
    y = pipeline.encode_labels([0, 2])
    plain = pipeline.step(z, times[[0, 3]], times[[1, 4]], y, None)
    assert torch.allclose(plain, pipeline.step(z, times[[0, 3]], times[[1, 4]], y, 1.0), atol=1e-5)
    assert not torch.allclose(plain, pipeline.step(z, times[[0, 3]], times[[1, 4]], y, 3.0), atol=1e-4)


def test_a_tokenizer_of_another_space_is_refused_naming_both(folder: Path, tokenizer_folder: Path) -> None:
    other = load(tokenizer_folder)
    other.spec_id = "0123456789abcdef"
    with pytest.raises(
        ValueError, match=f"spec {spec_id_of(tokenizer_folder)}, this tokenizer is 0123456789abcdef"
    ):
        Pipeline.load(folder, tokenizer=other)
    other.spec_id = ""
    config = checkpoint.read_config(folder) | {"size": [32, 32]}
    grown = folder.with_name("grown")
    shutil.copytree(folder, grown, dirs_exist_ok=True)
    checkpoint.replace_config(grown, config)
    with pytest.raises(
        ValueError, match=r"makes latents \(8, 4, 4\), but this tokenizer's for 32x32 .* \(8, 8, 8\)"
    ):
        Pipeline.load(grown, tokenizer=other)


def test_sizes_labels_seeds_and_steps_it_cannot_serve_are_refused(pipeline: Pipeline) -> None:
    assert pipeline.sizes == ((16, 16),)
    assert len(pipeline.generate(0, 0, 1, size=(16, 16))) == 1
    with pytest.raises(ValueError, match="cannot make 32x16 pixels; it makes 16x16"):
        pipeline.generate(0, 0, 1, size=(32, 16))
    for label in ("cats", 3, -1):
        with pytest.raises(ValueError, match="it knows 0 to 2, called circles, noise, stripes"):
            pipeline.generate(label, 0, 1)
    with pytest.raises(ValueError, match="at least one label"):
        pipeline.generate([], 0, 1)
    with pytest.raises(ValueError, match=r"from 0 to 2\^63 - 1, got -1"):
        pipeline.generate(0, -1, 1)
    with pytest.raises(ValueError, match="2 labels need 2 seeds or one, got 3"):
        pipeline.generate([0, 1], [1, 2, 3], 1)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        pipeline.generate(0, 0, 0)
    with pytest.raises(ValueError, match="choose one of euler, heun"):
        pipeline.generate(0, 0, 1, sampler="ddim")  # type: ignore[call-overload]


def test_without_a_tokenizer_it_makes_latents_only(folder: Path, pipeline: Pipeline) -> None:
    alone = Pipeline.load(folder)
    assert torch.equal(latents(alone, [1], 0), latents(pipeline, [1], 0))
    with pytest.raises(ValueError, match="no tokenizer"):
        alone.generate([1], 0, 1)


def photographs(count: int) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_image_to_image_ends_at_the_reconstruction_and_at_generation(
    pipeline: Pipeline, sampler: str
) -> None:
    x = photographs(2)
    assert pipeline.tokenizer is not None
    kept = pipeline.image_to_image(x, [0, 1], 5, 4, 3.0, strength=0.0, sampler=sampler, output="pixels")  # type: ignore[call-overload]
    assert torch.equal(kept, pipeline.tokenizer.decode(pipeline.tokenizer.encode(x)).clamp(-1, 1))
    new = pipeline.image_to_image(x, [0, 1], 5, 4, 3.0, strength=1.0, sampler=sampler, output="latent")  # type: ignore[call-overload]
    assert torch.equal(new.z, latents(pipeline, [0, 1], 5, sampler=sampler))


def test_strength_moves_away_from_the_picture(pipeline: Pipeline) -> None:
    x = photographs(1)
    assert pipeline.tokenizer is not None
    z = pipeline.tokenizer.encode(x).z
    moved = [
        float((pipeline.image_to_image(x, 1, 5, 8, 1.0, strength=strength, output="latent").z - z).norm())
        for strength in (0.0, 0.25, 0.75, 1.0)
    ]
    assert moved == sorted(moved)
    assert moved[0] == 0.0


def test_outside_of_the_mask_is_the_reconstruction(pipeline: Pipeline) -> None:
    x, mask = photographs(2), torch.zeros(1, 1, 16, 16)
    mask[..., 5:11, 9:] = 1.0  # cuts through positions of the latent
    kept = pipeline.image_to_image(x, [0, 1], 5, 4, strength=0.0, output="pixels")
    result = pipeline.image_to_image(x, [0, 1], 5, 4, strength=0.8, mask=mask, output="pixels")
    same = (result == kept).all(dim=1, keepdim=True)
    assert bool(same[mask.expand(2, 1, 16, 16) == 0].all())
    assert float(same[mask.expand(2, 1, 16, 16) == 1].float().mean()) < 0.1
    everywhere = pipeline.image_to_image(
        x, [0, 1], 5, 4, strength=0.8, mask=torch.ones(2, 1, 16, 16), output="latent"
    )
    assert torch.equal(
        everywhere.z, pipeline.image_to_image(x, [0, 1], 5, 4, strength=0.8, output="latent").z
    )


def test_image_to_image_takes_pictures_of_any_size(pipeline: Pipeline) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    mask = Image.new("RGBA", (30, 40), (0, 0, 0, 255))
    (result,) = pipeline.image_to_image(picture, "noise", 0, 2, mask=mask)
    (kept,) = pipeline.image_to_image(picture, "noise", 0, 2, strength=0.0)
    assert result.size == (16, 16)
    assert np.array_equal(np.asarray(result), np.asarray(kept))  # an opaque mask keeps everything
    assert len(pipeline.image_to_image(picture, [0, 1, 2], 0, 2, batch=2)) == 3


def test_image_to_image_refuses_what_it_cannot_do(folder: Path, pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"from 0 \(the picture itself\) to 1 \(noise\), got 1.5"):
        pipeline.image_to_image(photographs(1), 0, strength=1.5)
    with pytest.raises(ValueError, match="3 labels need one picture and mask or 3, got 2"):
        pipeline.image_to_image(photographs(2), [0, 1, 2])
    with pytest.raises(ValueError, match="no tokenizer to encode pictures with"):
        Pipeline.load(folder).image_to_image(photographs(1), 0)


def test_a_bundled_name_brings_its_tokenizer(
    folder: Path, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folder, "BUNDLED", tmp_path / "generators")
    monkeypatch.setattr(loading, "BUNDLED", tmp_path / "tokenizers")
    shutil.copytree(folder, tmp_path / "generators" / "demo")
    shutil.copytree(tokenizer_folder, tmp_path / "tokenizers" / "demo")
    pipeline = Pipeline.load("demo")
    assert len(pipeline.generate("circles", 0, 1)) == 1
    with pytest.raises(ValueError, match=r"no generator 'other': .* bundled model \(demo\)"):
        Pipeline.load("other")


def test_bfloat16_follows_float32(folder: Path, tokenizer_folder: Path, pipeline: Pipeline) -> None:
    half = Pipeline.load(folder, tokenizer=tokenizer_folder, dtype=torch.bfloat16)
    exact, rough = (p.generate([0, 1], 0, 4, output="pixels") for p in (pipeline, half))
    assert rough.dtype == torch.float32
    assert float((exact - rough).abs().mean()) < 0.05 * float(exact.std())
