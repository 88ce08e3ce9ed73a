"""Text errors: VTBench's arithmetic and the usual one, pooled over pictures, mergeable."""

import pytest
import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.metrics.text import TextError, Unit, text_errors
from eval.protocols import canon_v1, protocol
from eval.reading import TextReader

REAL = ["a film by nobody", "", "SALE 50%", "one two"]
FAKE = ["a firm by nobody", "noise", "SALE 50%", "one too"]


class Reader(TextReader):
    """The grey level of a picture stands for its text."""

    def __init__(self) -> None:
        self.records = ()

    def __call__(self, pictures: Tensor) -> tuple[str, ...]:
        return tuple((REAL + FAKE)[int(picture[0, 0, 0])] for picture in pictures)


def pictures(first: int, count: int = 4) -> Tensor:
    levels = torch.arange(first, first + count, dtype=torch.uint8)
    return levels.view(-1, 1, 1, 1).repeat(1, 3, 8, 8)


def metric(unit: Unit, name: str = "canon-v1") -> TextError:
    return TextError(protocol(name, 16), Reader(), unit)


def test_errors_of_all_over_length_of_all() -> None:
    made = metric("characters")
    made.update(pictures(0), pictures(4))
    score = made.compute()
    # l -> r and m stays; five letters from nothing; none; w -> o
    assert score.value == pytest.approx((1 + 5 + 0 + 1) / (16 + 0 + 8 + 7))
    assert score.ci95[0] <= score.value <= score.ci95[1]
    assert score.num_images == 4
    assert score.details == {"reader": "rapidocr", "characters": 31, "pictures_with_text": 3}


def test_words_are_words_and_vtbench_counts_characters_over_words() -> None:
    right, trapped = metric("words"), metric("words", "vtbench")
    for made in (right, trapped):
        made.update(pictures(0), pictures(4))
    assert right.compute().value == pytest.approx((1 + 1 + 0 + 1) / (4 + 0 + 2 + 2))
    assert trapped.compute().value == pytest.approx((1 + 5 + 0 + 1) / (4 + 0 + 2 + 2))
    assert text_errors("a  b\n", " a b ", "words") == (0, 2)  # blanks do not count
    assert text_errors("ab", "a b", "words", "characters") == (1, 2)
    assert text_errors("ab", "a b", "characters") == (1, 3)


def test_equal_texts_have_no_errors_and_no_text_is_told() -> None:
    made = metric("characters")
    made.update(pictures(0), pictures(0))
    assert made.compute().value == 0.0
    empty = metric("characters")
    empty.update(pictures(1, 1), pictures(5, 1))
    with pytest.raises(NotComputedError, match="text in the original pictures"):
        empty.compute()


def test_numbered_parts_merge_into_the_whole() -> None:
    whole, first, second = (metric("words") for _ in range(3))
    whole.update(pictures(0), pictures(4))
    second.update(pictures(2, 2), pictures(6, 2), [2, 3])
    first.update(pictures(0, 2), pictures(4, 2), [0, 1])
    second.merge(first)
    assert second.compute() == whole.compute()


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        TextError(canon_v1(16, "fail"), Reader(), "words").update(pictures(0).float(), pictures(4).float())
