"""What a run sees, by position."""

from pathlib import Path

import torch

from tokenizer.data.opening import open_evaluation, open_training
from tokenizer.data.settings import DataConfig


def test_pictures_are_clips_of_one_frame_where_clips_are_asked_for(photographs: Path) -> None:
    data = DataConfig(path=photographs)
    picture, clip = (open_training(data, 16, frames, seed=3)[5] for frames in (None, 1))
    assert picture["data"].shape == (16, 16, 3)
    assert torch.equal(clip["data"][0], picture["data"])
    assert torch.equal(clip["key"], picture["key"])
    whole, clips = (open_evaluation(photographs, 16, frames) for frames in (None, 1))
    assert len(whole) == len(clips)
    assert torch.equal(clips[2]["data"], whole[2]["data"][None])
