"""What a job over video is asked for."""

from pathlib import Path

import pytest

from eval.video.settings import ReconstructVideoConfig

TREE = {"tokenizer": "demo", "data": {"path": "videos"}, "out": "runs"}


def test_defaults() -> None:
    config = ReconstructVideoConfig.parse(TREE)
    assert config.protocol == "streaming"
    assert config.data.path == Path("videos")
    assert config.floor


@pytest.mark.parametrize("changes", [{"piece_frames": 0}, {"tiles": {"tile": 8, "overlap": 8}}, {"wrong": 1}])
def test_mistakes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        ReconstructVideoConfig.parse(TREE | changes)
