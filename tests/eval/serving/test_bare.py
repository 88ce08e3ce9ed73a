"""The bare loop does all of its work, and says how fast."""

import json
from pathlib import Path

import pytest

from eval.serving import bare
from eval.serving.bare import BarePlan, BareReport, measure
from eval.serving.bodies import npy, picture
from eval.serving.work import Work


@pytest.fixture
def plan(tokenizer_folder: Path, tmp_path: Path) -> BarePlan:
    for index in range(3):
        (tmp_path / f"{index}.npy").write_bytes(npy(picture(16, 16, index)))
    return BarePlan.parse(
        {
            "work": {
                "operation": "reconstruct",
                "tokenizer": tokenizer_folder,
                "output": "npy",
                "max_batch": 4,
            },
            "bodies": sorted(tmp_path.glob("*.npy")),
            "batch_sizes": [1, 4],
            "calls": 4,
            "seconds": 0.05,
            "warmup": 1,
        }
    )


def test_every_request_goes_through_all_stages(plan: BarePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"before": 0, "core": 0, "after": 0}
    for stage in counts:
        original = getattr(Work, stage)

        def counted(self: Work, item: object, stage: str = stage, original: object = original) -> object:
            counts[stage] += len(item) if stage == "core" else 1  # type: ignore[arg-type]  # a batch
            return original(self, item)  # type: ignore[operator]  # the stage

        monkeypatch.setattr(Work, stage, counted)
    report = measure(plan)
    assert len(report.latencies_s) == 4
    assert set(report.per_s) == {1, 4}
    assert all(per_s > 0 for per_s in report.per_s.values())
    assert counts["before"] >= counts["core"] >= counts["after"] > 0


def test_parts_that_are_not_asked_for_are_not_timed(plan: BarePlan) -> None:
    report = measure(plan.model_copy(update={"batch_sizes": (), "calls": 2}))
    assert report.per_s == {}
    assert len(report.latencies_s) == 2
    assert measure(plan.model_copy(update={"batch_sizes": (2,), "calls": 0})).latencies_s == ()


def test_the_best_batch_size() -> None:
    assert BareReport(per_s={1: 10.0, 4: 30.0, 16: 20.0}, latencies_s=()).best == (4, 30.0)


def test_as_a_process(
    plan: BarePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    short = plan.model_copy(update={"batch_sizes": ()})
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([short.model_dump(mode="json")] * 2)))
    bare.main()
    reports = [BareReport.parse(facts) for facts in json.loads(capsys.readouterr().out)]
    assert [len(report.latencies_s) for report in reports] == [4, 4]
