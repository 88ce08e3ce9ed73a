"""The job from end to end on a tiny generator."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion.pipeline import Pipeline
from eval import generate
from eval.errors import EvaluationError
from eval.frechet import Moments, frechet_distance
from eval.generate import run
from eval.metrics import METRICS
from eval.metrics.fid import frechet_score
from eval.metrics.manifold import precision_recall_score
from eval.metrics.sets import SetComparison
from eval.protocols import EvaluationProtocol
from eval.report import Computed, NotComputed, Report
from eval.settings import GenerateConfig
from eval.shards import Shards
from tests.eval.conftest import averages
from tokenizer.model import Autoencoder


def config(
    generator: Path, tokenizer: Path, pictures: Path, out: Path, changes: dict[str, object] | None = None
) -> GenerateConfig:
    tree = {
        "generator": str(generator),
        "tokenizer": str(tokenizer),
        "data": {"path": str(pictures)},
        "out": str(out),
        "num_images": 5,
        "num_steps": 2,
        "batch_size": 3,
        "device": "cpu",
    }
    return GenerateConfig.parse(tree | (changes or {}))


def test_command_writes_report_page_grid_and_samples(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generate.main(
        [
            f"generator={generator_folder}",
            f"tokenizer={tokenizer_folder}",
            f"data.path={pictures_folder}",
            f"out={tmp_path}",
            "num_images=5",
            "num_steps=2",
            "batch_size=2",
            "device=cpu",
        ]
    )
    tree = json.loads((tmp_path / "report.json").read_text())
    assert (tree["job"], tree["num_images"], tree["data"]["num_used"]) == ("generate", 5, 8)
    assert set(tree["metrics"]["gfid"]) == {"not_computed", "put"}
    assert tree["generator"]["num_classes"] == 2
    assert tree["nearest"]["smallest"] <= tree["nearest"]["median"]
    assert Report.parse(tree).to_text() == (tmp_path / "report.json").read_text()
    assert "gfid" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert all(shown in page for shown in ("Class cat", "Class dog", "nearest training photograph"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.height > 2 * 32
    with np.load(tmp_path / "samples.npz") as samples:
        assert samples["arr_0"].shape == (5, 32, 32, 3)
        assert samples["arr_0"].dtype == np.uint8
        assert samples["arr_1"].tolist() == [0, 1, 0, 1, 0]


def test_any_sample_can_be_made_again_alone(
    generator_folder: Path, tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path, {"seed": 10}))
    pipeline = Pipeline.load(generator_folder, tokenizer=tokenizer_folder)
    (alone,) = pipeline.generate("dog", 13, 2, 2.0)
    with np.load(tmp_path / "samples.npz") as samples:
        difference = np.asarray(alone).astype(int) - samples["arr_0"][3].astype(int)
    assert np.abs(difference).max() <= 1


def test_gfid_is_between_samples_and_reference(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.Tensor] = []

    def extract(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(pictures)
        return torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 1).flatten(1)

    def load(protocol: EvaluationProtocol, *_: object) -> SetComparison:
        return SetComparison(protocol, extract, (), partial(frechet_score, protocol, paired=False))

    monkeypatch.setitem(METRICS, "gfid", load)
    report = run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path))
    tree = json.loads(report.to_text())["metrics"]["gfid"]
    assert (tree["details"]["num_fake"], tree["details"]["num_real"]) == (5, 8)
    assert tree["ci95"][0] <= tree["value"] <= tree["ci95"][1]
    with np.load(tmp_path / "samples.npz") as samples:
        assert np.array_equal(torch.cat(seen[:2]).permute(0, 2, 3, 1).numpy(), samples["arr_0"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tokenizer": None}, "tokenizer=SOURCE is needed"),
        ({"generator": "no-such-model"}, "no generator 'no-such-model'"),
        ({"metrics": ["psnr"]}, "samples have no original"),
        ({"data": {"path": "no/such/folder"}}, "not a folder"),
    ],
)
def test_mistakes_are_explained(
    changes: dict[str, object],
    sentence: str,
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path, changes))


def test_a_tokenizer_that_was_never_measured_is_refused(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = Pipeline.load(generator_folder, tokenizer=tokenizer_folder)
    assert isinstance(pipeline.tokenizer, Autoencoder)
    pipeline.tokenizer.spec = pipeline.tokenizer.spec.with_statistics(None)
    monkeypatch.setattr(Pipeline, "load", lambda *_, **__: pipeline)
    with pytest.raises(EvaluationError, match=r"python -m tokenizer\.stats"):
        run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path))


def test_another_resolution_is_refused(
    generator_folder: Path, tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    data = {"path": str(pictures_folder), "resolution": 40}
    with pytest.raises(EvaluationError, match="this generator makes 32"):
        run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path, {"data": data}))


def numbers(report: Report) -> str:
    return json.dumps(report.model_dump(mode="json", exclude={"images_per_s", "speed", "machine", "commit"}))


def test_interrupted_anywhere_it_goes_on_to_the_same_numbers_and_samples(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch)
    changes: dict[str, object] = {"shard_images": 2, "batch_size": 2, "metrics": ["gfid"]}
    of = partial(config, generator_folder, tokenizer_folder, pictures_folder)
    whole = run(of(tmp_path / "whole", changes))
    left, once = [0], Shards.save

    def save(self: Shards, *given: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        once(self, *given)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Shards, "save", save)
    halves = of(tmp_path / "halves", changes)
    made = 0
    for more in (0, 2, 1, 3):  # 3 shards of samples, 4 of photographs
        left[0], made = more, made + more
        with pytest.raises(KeyboardInterrupt):
            run(halves)
        assert len(list((tmp_path / "halves" / "parts").rglob("*.safetensors"))) == made
    left[0] = 1
    assert numbers(run(halves)) == numbers(whole)
    grids = [(tmp_path / folder / "grid.png").read_bytes() for folder in ("whole", "halves")]
    assert grids[0] == grids[1]
    files = [tmp_path / folder / "samples.npz" for folder in ("whole", "halves")]
    with np.load(files[0]) as a, np.load(files[1]) as b:
        assert all(np.array_equal(a[key], b[key]) for key in ("arr_0", "arr_1"))
    assert not (tmp_path / "halves" / "parts").exists()


def test_presets_are_valid() -> None:
    for file in sorted(generate.PRESETS.glob("*.yaml")):
        GenerateConfig.load(file, ["generator=demo", "data.path=pictures", "out=out"])


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """gFID and precision over three averages a picture."""

    def extract(pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 1).flatten(1)

    def precision(protocol: EvaluationProtocol, *_: object) -> SetComparison:
        return SetComparison(
            protocol, extract, (), partial(precision_recall_score, protocol, which="precision")
        )

    monkeypatch.setitem(METRICS, "gfid", averages())
    monkeypatch.setitem(METRICS, "precision", precision)


def test_a_protocol_against_an_npz_never_takes_the_folder(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch)
    changes: dict[str, object] = {"protocol": "adm-gfid", "metrics": ["gfid", "precision"]}
    report = run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path, changes))
    for name in ("gfid", "precision"):
        entry = report.metrics[name]
        assert isinstance(entry, NotComputed)
        assert "never with a folder" in entry.not_computed
        assert "reference=FILE.npz" in entry.put
    changes["require"] = ["gfid"]
    with pytest.raises(EvaluationError, match="never with a folder"):
        run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path, changes))


def test_a_reference_npz_stands_in_place_of_the_folder(
    generator_folder: Path,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch)
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    averages = pictures.astype(np.float64).mean(axis=(1, 2))
    reference = tmp_path / "reference.npz"
    np.savez(reference, arr_0=pictures, mu=averages.mean(axis=0), sigma=np.cov(averages, rowvar=False))
    changes: dict[str, object] = {
        "protocol": "adm-gfid",
        "metrics": ["gfid", "precision"],
        "reference": str(reference),
    }
    report = run(config(generator_folder, tokenizer_folder, pictures_folder, tmp_path / "out", changes))
    gfid, precision = report.metrics["gfid"], report.metrics["precision"]
    assert isinstance(gfid, Computed)
    assert isinstance(precision, Computed)
    assert precision.details["num_real"] == 9  # not the 8 of the folder
    with np.load(tmp_path / "out" / "samples.npz") as samples:
        made = torch.from_numpy(samples["arr_0"]).double().mean(dim=(1, 2))
    expected = frechet_distance(Moments.of(torch.from_numpy(averages)), Moments.of(made))
    assert gfid.value == pytest.approx(expected, rel=1e-5)
    assert report.generator is not None
    assert report.generator["reference"]["file"] == "reference.npz"
