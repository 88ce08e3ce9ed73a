"""Pipelines of diffusers in the worker: the pictures they make by themselves, whoever is beside, and nothing unsafe."""

from pathlib import Path

import pytest
import torch

from service.engine.foreign_pipeline import ForeignPipeline, Row, Settings
from service.errors import InvalidParameter
from tests.service.pipeline_folders import direct, make_dit, make_sana, source

SMALL = Settings(num_steps=3, guidance=2.5, size=None)
WIDE = Settings(num_steps=2, guidance=3.0, size=(32, 64))


def load(folder: Path) -> ForeignPipeline:
    return ForeignPipeline.load(source(folder), device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def dit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dit(tmp_path_factory.mktemp("dit"))


@pytest.fixture(scope="module")
def sana_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sana(tmp_path_factory.mktemp("sana"))


@pytest.fixture(scope="module")
def dit(dit_folder: Path) -> ForeignPipeline:
    return load(dit_folder)


@pytest.fixture(scope="module")
def sana(sana_folder: Path) -> ForeignPipeline:
    return load(sana_folder)


def test_a_class_conditional_one_equals_the_pipeline_called_directly(
    dit: ForeignPipeline, dit_folder: Path
) -> None:
    rows = [Row(7, label=1), Row(8, label=2)]
    expected = direct(
        dit_folder, class_labels=[1, 2], seeds=[7, 8], guidance_scale=2.5, num_inference_steps=3
    )
    pictures = dit.run(rows, SMALL)
    assert pictures.shape == (2, 32, 32, 3)
    assert pictures.float().std() > 5  # a grey square would equal anything
    torch.testing.assert_close(pictures, expected, rtol=0, atol=0)


def test_a_text_conditional_one_equals_the_pipeline_called_directly(
    sana: ForeignPipeline, sana_folder: Path
) -> None:
    rows = [Row(7, prompt="a red fox", negative_prompt="blue"), Row(8, prompt="house", negative_prompt="")]
    expected = direct(
        sana_folder,
        prompt=["a red fox", "house"],
        negative_prompt=["blue", ""],
        seeds=[7, 8],
        guidance_scale=3.0,
        num_inference_steps=2,
        height=32,
        width=64,
        use_resolution_binning=False,
    )
    pictures = sana.run(rows, WIDE)
    assert pictures.shape == (2, 32, 64, 3)
    torch.testing.assert_close(pictures, expected, rtol=0, atol=0)
    others = sana.run([Row(7, prompt="blue house", negative_prompt="blue"), rows[1]], WIDE)
    assert not torch.equal(others[0], pictures[0])
    torch.testing.assert_close(others[1], pictures[1], rtol=0, atol=0)


def test_a_row_does_not_depend_on_its_company(dit: ForeignPipeline) -> None:
    rows = [Row(seed, label=seed % 3) for seed in range(4)]
    together = dit.run(rows, SMALL)
    for company in ([rows[2], rows[0]], [rows[2], Row(99, label=9)]):
        padded = [*company, company[-1], company[-1]]  # the same bucket
        torch.testing.assert_close(dit.run(padded, SMALL)[0], together[2], rtol=0, atol=0)


def test_noise_of_the_scheduler_is_a_rows_own(tmp_path: Path) -> None:
    ancestral = load(make_dit(tmp_path, "DDPMScheduler"))  # it draws noise at every step
    rows = [Row(3, label=0), Row(4, label=1)]
    first = ancestral.run(rows, SMALL)
    torch.manual_seed(1)
    again = ancestral.run([rows[0], Row(5, label=2)], SMALL)
    torch.testing.assert_close(again[0], first[0], rtol=0, atol=0)
    assert not torch.equal(again[1], first[1])


@pytest.mark.parametrize("name", ["dit", "sana"])
def test_steps_are_told_and_can_end_the_call(name: str, request: pytest.FixtureRequest) -> None:
    pipeline: ForeignPipeline = request.getfixturevalue(name)
    by_class = name == "dit"
    row = Row(7, label=1) if by_class else Row(7, prompt="a fox")
    settings = Settings(4, 2.0, None if by_class else (32, 32))
    told: list[tuple[int, int]] = []
    whole = pipeline.run([row], settings, lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def leave(step: int, _: int) -> None:
        told.append((step, 0))
        if step == 2:
            raise InvalidParameter("nobody waits")

    with pytest.raises(InvalidParameter, match="nobody"):
        pipeline.run([row], settings, leave)
    assert told[4:] == [(1, 0), (2, 0)]
    torch.testing.assert_close(pipeline.run([row], settings), whole, rtol=0, atol=0)


def test_texts_that_are_padded_to_one_length_share_calls(sana: ForeignPipeline, dit: ForeignPipeline) -> None:
    assert sana.mixes_texts
    sana.measure()
    assert not sana.mixes_texts
    dit.measure()
    assert not dit.mixes_texts


def test_the_pipeline_checks_what_it_is_asked(sana: ForeignPipeline, dit: ForeignPipeline) -> None:
    sana.check(Row(0, prompt="a fox"), WIDE)
    dit.check(Row(0, label=1), SMALL)
    with pytest.raises(InvalidParameter, match=r"SanaPipeline refuses this: .*divisible by 32"):
        sana.check(Row(0, prompt="a fox"), Settings(2, 3.0, (32, 48)))


def test_memory_is_that_of_all_weights(dit: ForeignPipeline, dit_folder: Path) -> None:
    files = sum(path.stat().st_size for path in dit_folder.rglob("*.safetensors"))
    assert 0.8 * files < dit.memory_bytes < 1.2 * files


def test_tiles_are_for_one_call(dit: ForeignPipeline) -> None:
    plain = dit.run([Row(7, label=1)], SMALL)
    with dit.tiled(True):
        assert dit.run([Row(7, label=1)], SMALL).shape == plain.shape
    with dit.tiled(False):
        torch.testing.assert_close(dit.run([Row(7, label=1)], SMALL), plain, rtol=0, atol=0)


def test_half_precision_is_what_is_asked_for(dit_folder: Path) -> None:
    half = ForeignPipeline.load(source(dit_folder), device=torch.device("cpu"), dtype=torch.bfloat16)
    full = load(dit_folder)
    assert half.memory_bytes < 0.6 * full.memory_bytes
    assert half.run([Row(7, label=1)], SMALL).shape == (1, 32, 32, 3)


def test_pickles_are_never_read(dit_folder: Path, tmp_path: Path) -> None:
    from shutil import copytree

    told = source(dit_folder)
    folder = tmp_path / "pickled"
    copytree(dit_folder, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, folder / "vae" / "diffusion_pytorch_model.bin")
    broken = type(told)(told.kind, told.name, str(folder), told.pipeline)
    with pytest.raises(ValueError, match="safetensors"):
        ForeignPipeline.load(broken, device=torch.device("cpu"), dtype=torch.float32)
