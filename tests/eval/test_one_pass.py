"""One pass: numbers do not depend on how it was cut or interrupted; nothing is counted twice or left out."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eval import one_pass, processes
from eval.metrics import METRICS
from eval.one_pass import Job, collect, measure, shards_of
from eval.reconstruct import prepare, run
from eval.report import Report
from eval.round_trip import RoundTrip
from eval.settings import ReconstructConfig
from tests.eval.conftest import averages
from tokenizer.data.pack import PackConfig, pack
from tokenizer.spec import Latent


def config(tokenizer: Path, pictures: Path, out: Path, **changes: object) -> ReconstructConfig:
    tree = {
        "tokenizer": str(tokenizer),
        "data": {"path": str(pictures), "resolution": 32},
        "out": str(out),
        "device": "cpu",
        "batch_size": 2,
        "shard_images": 3,
        "gallery": 1,
    }
    return ReconstructConfig.parse(tree | changes)


class StoppedError(Exception):
    pass


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> object:
    """Let so many batches through, then fail as if the process were gone."""
    once = one_pass.reconstruct

    def stop(batches: int) -> None:
        left = iter(range(batches))

        def reconstruct(job: Job, real: Tensor, number: int) -> object:
            if next(left, None) is None:
                raise StoppedError
            return once(job, real, number)

        monkeypatch.setattr(one_pass, "reconstruct", reconstruct)

    return stop


def numbers(report: Report) -> str:
    return json.dumps(
        report.model_dump(mode="json", exclude={"images_per_s", "speed", "machine", "commit"}), indent=1
    )


@pytest.mark.parametrize("protocol", ["canon-v1", "ldm"])  # ldm draws from posteriors
def test_interrupted_anywhere_the_numbers_are_the_same(
    protocol: str,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    stop_after: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METRICS, "rfid", averages(paired=True))
    changes = {"protocol": protocol, "metrics": ["psnr", "ssim", "rfid"]}
    whole = run(config(tokenizer_folder, pictures_folder, tmp_path / "whole", **changes))
    halves = config(tokenizer_folder, pictures_folder, tmp_path / "halves", **changes)
    for batches, kept in ((0, 0), (3, 1), (1, 1), (2, 2), (0, 2)):
        stop_after(batches)  # type: ignore[operator]  # a fixture
        with pytest.raises(StoppedError):
            run(halves)
        assert len(list((tmp_path / "halves" / "parts").rglob("*.safetensors"))) == kept
    stop_after(100)  # type: ignore[operator]
    assert numbers(run(halves)) == numbers(whole)
    assert (tmp_path / "halves" / "per_image.csv").read_text() == (
        tmp_path / "whole" / "per_image.csv"
    ).read_text()
    assert not (tmp_path / "halves" / "parts").exists()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_picture_once_whoever_made_it(
    count: int,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the processes in its turn, the last one twice: it finds nothing to do."""
    asked = config(tokenizer_folder, pictures_folder, tmp_path, metrics=["psnr"], shard_images=2)
    jobs = [prepare(asked) for _ in range(count)]
    seen: list[int] = []
    once = one_pass.reconstruct

    def reconstruct(job: Job, real: Tensor, number: int) -> RoundTrip:
        seen.append(number)
        return once(job, real, number)

    monkeypatch.setattr(one_pass, "reconstruct", reconstruct)
    for place, job in enumerate([*jobs, jobs[-1]]):
        shards = shards_of(job)
        monkeypatch.setattr(
            processes, "share", lambda items, place=place: [i for i in items if i % count == place % count]
        )
        measure(job, shards)
    assert sorted(seen) == [0, 2, 4, 6]  # first pictures of the batches
    measured = collect(jobs[0], shards_of(jobs[0]))
    assert measured.files == list(jobs[0].pictures.files)
    (panel,) = jobs[0].panels
    assert panel.compute()[1]["psnr"].num_images == 8


def test_a_pass_over_tar_shards_goes_on_too(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path, stop_after: object
) -> None:
    pack(PackConfig(path=pictures_folder, out=tmp_path / "tars", shard_images=3))
    of_folder = run(config(tokenizer_folder, pictures_folder, tmp_path / "a", metrics=["psnr"]))
    of_tars = config(tokenizer_folder, tmp_path / "tars", tmp_path / "b", metrics=["psnr"])
    stop_after(2)  # type: ignore[operator]  # a fixture
    with pytest.raises(StoppedError):
        run(of_tars)
    stop_after(100)  # type: ignore[operator]
    found = run(of_tars)
    assert found.metrics == of_folder.metrics
    assert found.data.content == of_folder.data.content


class Sums:
    """The sum of all latents."""

    def __init__(self) -> None:
        self.sum = torch.zeros(1, dtype=torch.float64)

    def update(self, latent: Latent) -> None:
        self.sum = self.sum + latent.z.double().sum()

    def take(self) -> dict[str, Tensor]:
        found, self.sum = {"sum": self.sum}, torch.zeros(1, dtype=torch.float64)
        return found

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        self.sum = self.sum + state["sum"]


def test_what_gathers_latents_is_kept_with_the_shards(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path, stop_after: object
) -> None:
    whole = prepare(config(tokenizer_folder, pictures_folder, tmp_path / "whole", metrics=["psnr"]))
    whole.gatherers = {"sums": Sums()}
    measure(whole, shards_of(whole))
    collect(whole, shards_of(whole))
    first = prepare(config(tokenizer_folder, pictures_folder, tmp_path / "halves", metrics=["psnr"]))
    first.gatherers = {"sums": Sums()}
    stop_after(3)  # type: ignore[operator]  # a fixture
    with pytest.raises(StoppedError):
        measure(first, shards_of(first))
    second = prepare(first.config)
    second.gatherers = {"sums": Sums()}
    stop_after(100)  # type: ignore[operator]
    measure(second, shards_of(second))
    collect(second, shards_of(second))
    assert second.gatherers["sums"].sum.item() == whole.gatherers["sums"].sum.item() != 0  # type: ignore[attr-defined]
