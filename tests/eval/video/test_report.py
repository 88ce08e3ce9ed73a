"""The record: readable back, without infinities in JSON, with the floor beside its metrics."""

import json

from eval.video.report import ClipComputed, VideoReport
from eval.video.score import ClipScore
from tests.eval.video.reports import make


def test_it_comes_back_from_json() -> None:
    tree = json.loads(make().to_text())
    assert tree["metrics"]["psnr"]["value"] == "inf"
    assert VideoReport.parse(tree).to_text() == make().to_text()


def test_the_summary_has_the_floor_and_what_is_missing() -> None:
    text = make().summary()
    assert "floor 21.5000" in text
    assert "needs a <file>" in text
    assert "257 frames need 10.5 MiB" in text


def test_an_entry_of_a_score() -> None:
    class Metric:
        higher_is_better = False
        weights = ()

    score = ClipScore(1.0, (0.5, 1.5), 3, {"unit": "dB"})
    entry = ClipComputed.of(Metric(), score)  # type: ignore[arg-type]  # what an entry reads of it
    assert (entry.value, entry.num_clips, entry.details, entry.higher_is_better) == (
        1.0,
        3,
        {"unit": "dB"},
        False,
    )
