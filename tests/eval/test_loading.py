"""All contenders deliver the same pictures; what is not installed is said, not guessed."""

import gc
import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from eval import loading
from eval.errors import EvaluationError
from eval.loading import LoadingConfig, LoadingData, Pass, copy_some, main, run, take_turns
from tokenizer.data.images import Sample


def config(photographs: Path, tmp_path: Path, **changes: object) -> LoadingConfig:
    data = {"path": photographs, "num_images": 20}
    settings = {"data": data, "resolution": 16, "batch": 8, "shard_images": 6, "repeats": 2, "work": tmp_path}
    return LoadingConfig.parse(settings | changes)


@pytest.fixture
def webdataset() -> Iterator[ModuleType]:
    """The package, which leaves closing its files to the garbage collector."""
    module = pytest.importorskip("webdataset", reason="the extra `bench` is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield module
        gc.collect()


@pytest.mark.usefixtures("webdataset")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_are_measured_on_the_same_pictures(photographs: Path, tmp_path: Path, num_workers: int) -> None:
    out = tmp_path / "out"
    report = run(config(photographs, tmp_path, out=out, num_workers=num_workers))
    assert report.rates.keys() == {"folder", "shards", "webdataset"}
    assert report.num_images == 20
    assert report.not_measured == {}
    for name in ("folder", "webdataset"):
        ratio = report.rates["shards"].images_per_s / report.rates[name].images_per_s
        assert report.ratios[name] == pytest.approx(ratio)
        assert f"shards / {name}: images/s x {ratio:.3f}" in report.summary()
    assert json.loads((out / "loading.json").read_text())["rates"].keys() == report.rates.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # the copies are gone


def test_webdataset_gives_each_picture_once(
    photographs: Path, tmp_path: Path, webdataset: ModuleType
) -> None:
    copy_some(LoadingData(path=photographs, num_images=20), tmp_path / "folder")
    loading.pack(loading.PackConfig(path=tmp_path / "folder", out=tmp_path / "shards", shard_images=6))
    files = sorted((tmp_path / "shards").glob("*.tar"))
    settings = config(photographs, tmp_path)
    theirs = list(loading._theirs(webdataset, files, settings))
    ours = list(loading._ours(tmp_path / "shards", settings))
    for batches in (theirs, ours):
        assert len({int(key) for batch in batches for key in batch["key"]}) == 20
        assert sorted(int(label) for batch in batches for label in batch["label"]) == [0] * 10 + [1] * 10
        assert all(batch["data"].shape[1:] == (16, 16, 3) for batch in batches)


def test_without_the_package_a_sentence_stands_in_its_place(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    main([f"data.path={photographs}", "data.num_images=6", "resolution=16", "repeats=1", f"work={tmp_path}"])
    text = capsys.readouterr().out
    assert "webdataset: not measured, the package is not installed: pip install webdataset" in text
    assert "shards / folder: images/s x " in text
    assert "shards / webdataset" not in text


def test_a_contender_that_loses_pictures_is_no_result() -> None:
    def lossy() -> Iterator[Sample]:
        empty = torch.zeros(0)
        yield Sample(data=torch.zeros(3, 1, 1, 3), label=empty, index=empty, key=empty)

    with pytest.raises(ValueError, match="lossy gave 3 of 4 pictures"):
        take_turns({"lossy": lossy}, 4, 1)
    assert len(take_turns({"lossy": lossy}, 3, 2)["lossy"]) == 2


def test_the_median_pass_counts() -> None:
    rate = loading._rate([Pass(1.0, 0.5), Pass(4.0, 0.1), Pass(2.0, 0.2)], 8)
    assert (rate.images_per_s, rate.best_images_per_s, rate.processor_ms) == (4.0, 8.0, 25.0)


def test_wrong_pictures_are_explained(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is not a folder"):
        run(LoadingConfig(data=LoadingData(path=tmp_path / "none")))
