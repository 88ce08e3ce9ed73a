"""The nearest photograph is found exactly, mirrored or not, in whatever order photographs come."""

from pathlib import Path

import pytest
import torch

from eval.nearest import SIDE, NearestPhotographs, coarse
from tokenizer.data.folder import PictureFile


def photographs(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 64, 64), generator=generator, dtype=torch.uint8)


FILES = tuple(PictureFile(Path(f"{index}.png"), f"{index}.png") for index in range(6))


def test_copies_are_found_at_distance_zero_and_mirror_images_too() -> None:
    shown = photographs(6)
    made = torch.stack([shown[4], shown[1].flip(-1)])
    nearest = NearestPhotographs(coarse(made))
    nearest.update([0, 1, 2], shown[:3])
    nearest.update([3, 4, 5], shown[3:])
    first, second = nearest.result(FILES)
    assert (first.file, first.distance, first.mirrored) == (FILES[4], 0.0, False)
    assert (second.file, second.distance, second.mirrored) == (FILES[1], 0.0, True)


def test_distance_is_the_root_mean_square_in_grey_levels() -> None:
    grey = torch.full((1, 3, 64, 64), 100, dtype=torch.uint8)
    nearest = NearestPhotographs(coarse(grey))
    nearest.update([0, 1], torch.cat([grey + 40, grey + 7]))
    (found,) = nearest.result(FILES)
    assert found.file == FILES[1]
    assert found.distance == pytest.approx(7.0, abs=1e-4)


def test_equals_brute_force_in_any_order() -> None:
    shown, made = photographs(6), photographs(9)[6:]
    both = torch.stack([coarse(shown), coarse(shown.flip(-1))])  # (2, 6, D)
    expected = (coarse(made)[:, None, None] - both).square().mean(dim=-1).sqrt().flatten(1).min(dim=1)
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]):
        nearest = NearestPhotographs(coarse(made))
        for index in order:
            nearest.update([index], shown[index : index + 1])
        result = nearest.result(FILES)
        assert [found.distance for found in result] == pytest.approx(expected.values.tolist(), rel=1e-5)
        assert [found.file for found in result] == [FILES[int(index) % 6] for index in expected.indices]


def test_small_pictures_are_compared_too() -> None:
    assert coarse(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape == (2, 3 * SIDE * SIDE)


def test_nothing_shown_is_an_error() -> None:
    with pytest.raises(ValueError, match="no photographs"):
        NearestPhotographs(coarse(photographs(1))).result([])


def test_parts_of_the_photographs_give_what_all_of_them_give() -> None:
    shown, made = photographs(6), photographs(9)[6:]
    whole = NearestPhotographs(coarse(made))
    whole.update(range(6), shown)
    part, merged = NearestPhotographs(coarse(made)), NearestPhotographs(coarse(made))
    for span in (range(0, 2), range(2, 3), range(3, 6)):
        part.update(span, shown[span.start : span.stop])
        merged.give(part.take())
    merged.give(part.take())  # nothing
    assert merged.result(FILES) == whole.result(FILES)
