"""Values of frames and clips, and their interval."""

import math

import pytest
import torch

from eval.protocols.settings import IntervalSettings
from eval.video.score import FrameValues, check_frames, clip_score


def test_frames_come_clip_after_clip_in_any_pieces() -> None:
    values = FrameValues()
    for clip, part in ((0, [1.0, 2.0]), (0, [3.0]), (1, [4.0])):
        values.add(torch.tensor(part), clip)
    assert [found.tolist() for found in values.clips()] == [[1.0, 2.0, 3.0], [4.0]]
    with pytest.raises(ValueError, match="clip 0 after clip 1"):
        values.add(torch.tensor([1.0]), 0)
    with pytest.raises(ValueError, match="no clips"):
        FrameValues().clips()


def test_the_mean_of_clips_is_not_that_of_frames_and_both_are_told() -> None:
    per_frame = [torch.tensor([math.nan, 1.0, 1.0, 1.0]), torch.tensor([math.nan, 5.0])]
    score = clip_score([1.0, 5.0], per_frame, IntervalSettings())
    assert score.value == 3.0
    assert score.details["mean_of_frames"] == 2.0
    assert score.details["frames"] == 4
    assert score.ci95[0] <= score.value <= score.ci95[1]
    assert math.isinf(clip_score([math.inf], [], IntervalSettings()).details["std"])  # type: ignore[arg-type]


def test_frames_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        check_frames(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), "uint8")
