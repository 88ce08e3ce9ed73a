"""What a run sees, by position."""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from tokenizer.data.images import Sample
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


def shapes(data: Dataset[Sample], batch: int, steps: int, begin: int = 0) -> list[tuple[int, ...]]:
    """The shape of each batch; all of its samples have it."""
    found = []
    for step in range(steps):
        kinds = {tuple(data[begin + step * batch + place]["data"].shape) for place in range(batch)}
        assert len(kinds) == 1
        found.append(kinds.pop())
    return found


def test_pictures_move_where_there_is_no_footage(photographs: Path) -> None:
    data = DataConfig(path=photographs)
    clip = open_training(data, 16, 5, seed=3)[5]["data"]
    assert clip.shape == (5, 16, 16, 3)
    assert not torch.equal(clip[0], clip[4])
    shown = open_evaluation(photographs, 16, 5)
    assert shown[3]["data"].shape == (5, 16, 16, 3)


def test_videos_give_clips_and_pictures(films: Path) -> None:
    data = DataConfig(path=films, frame_rate=5.0, stride=2)
    assert open_training(data, 16, 5, seed=3)[0]["data"].shape == (5, 16, 16, 3)
    assert open_training(data, 16, 1, seed=3)[0]["data"].shape == (1, 16, 16, 3)
    assert open_training(data, 16, None, seed=3)[0]["data"].shape == (16, 16, 3)
    assert open_evaluation(films, 16, 5)[0]["data"].shape == (5, 16, 16, 3)
    assert open_evaluation(films, 16, None)[0]["data"].shape == (16, 16, 3)


def test_pictures_and_videos_in_one_run_at_a_set_ratio(films: Path, photographs: Path) -> None:
    data = DataConfig(path=photographs, videos=films, still_share=0.3)
    found = shapes(open_training(data, 16, 5, seed=3, batch=1), batch=1, steps=100)
    assert found.count((1, 16, 16, 3)) == 30
    assert found.count((5, 16, 16, 3)) == 70


def test_batches_are_of_one_length_and_one_aspect(films: Path) -> None:
    data = DataConfig(path=films, lengths=(2,), aspects=("4:3", "3:4"), still_share=0.1)
    found = shapes(open_training(data, 16, 3, seed=3, multiple=2), batch=1, steps=100)
    sides = ((14, 18), (18, 14))
    assert set(found) == {(1, 16, 16, 3), *((frames, *side, 3) for frames in (3, 2) for side in sides)}
    assert found.count((1, 16, 16, 3)) == 10
    assert abs(sum(shape[0] == 3 for shape in found) - 45) <= 2
    upright = sum(shape[1:3] == (18, 14) for shape in found) / 90
    assert 0.2 < upright < 0.4  # the upright film has 4 of 13 clips of three frames, and 6 of 20 of two


def test_moving_pictures_have_every_aspect(photographs: Path) -> None:
    data = DataConfig(path=photographs, aspects=("1:1", "2:1"))
    found = shapes(open_training(data, 32, 3, seed=3, batch=1, multiple=8), batch=1, steps=100)
    assert [found.count((3, *side, 3)) for side in ((32, 32), (24, 48))] == [50, 50]


def test_batches_of_several_kinds_stay_of_one_shape(films: Path, photographs: Path) -> None:
    data = DataConfig(path=photographs, videos=films, still_share=0.5, lengths=(2,))
    assert (
        len(set(shapes(open_training(data, 16, 3, seed=3, batch=4, begin=6), batch=4, steps=6, begin=6))) > 1
    )
