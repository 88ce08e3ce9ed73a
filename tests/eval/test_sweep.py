"""A sweep: every pair measured as by itself, the best one named, interrupted without harm."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from eval import generate, sweep
from eval.metrics import METRICS
from eval.report import Computed, Report
from eval.settings import GenerateConfig, SweepConfig
from eval.shards import Shards
from eval.sweep import PointRecord, best_of, charts, run
from tests.eval.conftest import averages


@pytest.fixture
def options(
    generator_folder: Path, tokenizer_folder: Path, pictures_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setitem(METRICS, "gfid", averages())
    return [
        f"generator={generator_folder}",
        f"tokenizer={tokenizer_folder}",
        f"data.path={pictures_folder}",
        "num_images=5",
        "batch_size=2",
        "shard_images=3",
        "metrics=[gfid]",
        "device=cpu",
    ]


def test_every_pair_has_the_numbers_that_it_has_alone(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    sweep.main([*options, "guidance=[1,3]", "num_steps=[1,2]", "shown=2", "keep_samples=true", f"out={out}"])
    tree = json.loads((out / "sweep.json").read_text())
    pairs = [(point["guidance"], point["num_steps"]) for point in tree["points"]]
    assert pairs == [(1.0, 1), (3.0, 1), (1.0, 2), (3.0, 2)]
    alone = generate.run(
        GenerateConfig.load(None, [*options, "guidance=3", "num_steps=2", f"out={tmp_path / 'alone'}"])
    )
    folder = out / "guidance3-steps2"
    report = Report.parse(json.loads((folder / "report.json").read_text()))
    assert report.metrics == alone.metrics
    assert report.data == alone.data
    assert tree["points"][3]["metrics"] == json.loads(alone.to_text())["metrics"]
    with np.load(folder / "samples.npz") as a, np.load(tmp_path / "alone" / "samples.npz") as b:
        assert np.array_equal(a["arr_0"], b["arr_0"])
    values = [point["metrics"]["gfid"]["value"] for point in tree["points"]]
    best = tree["best"]["gfid"]
    assert best["value"] == min(values)
    assert pairs[values.index(min(values))] == (best["guidance"], best["num_steps"])
    with (out / "sweep.csv").open() as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == values
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 1
    assert all(text in page for text in ("gfid over guidance", "1 steps", "2 steps", "guidance 3, 2 steps"))
    assert not (out / "parts").exists()
    assert "gfid" in capsys.readouterr().out


def test_interrupted_it_goes_on_and_makes_nothing_twice(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(out: str) -> SweepConfig:
        return SweepConfig.load(None, [*options, "guidance=[1,3]", "num_steps=[1]", f"out={tmp_path / out}"])

    whole = run(config("whole"))
    left, saved, once = [0], list[Path](), Shards.save

    def save(self: Shards, index: int, *given: object) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        saved.append(self.folder / str(index))
        once(self, index, *given)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Shards, "save", save)
    for more in (1, 3, 2):  # 3 shards of photographs, then 2 of each pair
        left[0] = more
        with pytest.raises(KeyboardInterrupt):
            run(config("halves"))
    left[0] = 100
    assert [point.metrics for point in run(config("halves")).points] == [
        point.metrics for point in whole.points
    ]
    assert len(saved) == len(set(saved)) == 3 + 2 * 2


def point(guidance: float, steps: int, value: float, width: float = 0.1) -> PointRecord:
    entry = Computed(value=value, ci95=(value - width, value + width), num_images=5, higher_is_better=False)
    return PointRecord(guidance=guidance, num_steps=steps, images_per_s=1.0, metrics={"gfid": entry})


def test_the_best_pair_and_those_that_may_be_as_good() -> None:
    points = [point(1.0, 10, 9.0), point(2.0, 10, 5.0), point(3.0, 10, 5.15)]
    best = best_of(points)["gfid"]
    assert (best.guidance, best.value, best.rivals) == (2.0, 5.0, 1)
    missing = points[0].model_copy(update={"metrics": {}})
    assert best_of([points[0], missing]) == {}


def test_over_steps_where_there_is_one_guidance() -> None:
    (svg,) = charts([point(2.0, 10, 9.0), point(2.0, 50, 5.0)]).values()
    assert "gfid over steps" in svg
    assert "guidance 2" in svg
    (svg,) = charts([point(1.0, 10, 9.0), point(2.0, 10, 5.0)]).values()
    assert "gfid over guidance" in svg
