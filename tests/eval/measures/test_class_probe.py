"""Classes told from latents: all where they lie apart, chance where there is nothing to tell, whatever the scale."""

import pytest
import torch

from eval.errors import NotComputedError
from eval.measures.class_probe import class_probe


def draw(apart: float, count: int = 120, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) * 3 // count  # one class after the other, as folders are listed
    centres = torch.randn(3, width, generator=generator)
    return apart * centres[labels] + torch.randn(count, width, generator=generator), labels


def test_classes_that_lie_apart_are_told_and_others_are_not() -> None:
    assert class_probe(*draw(10.0)) == 1.0
    assert class_probe(*draw(0.0)) < 0.5
    assert class_probe(*draw(0.0)) < class_probe(*draw(1.0)) < 1.0


def test_scale_and_shift_of_a_value_change_nothing() -> None:
    latents, labels = draw(1.0)
    scale = torch.logspace(-3, 3, 8)
    assert class_probe(latents * scale + 5.0, labels) == class_probe(latents, labels)


def test_more_values_than_pictures_are_no_trouble() -> None:
    latents, labels = draw(0.5, width=500)
    assert class_probe(latents, labels) > 0.9
    noise = torch.randn(120, 500, generator=torch.Generator().manual_seed(1))
    assert class_probe(noise, labels) < 0.6  # nothing is told of pictures that were not fitted


def test_one_class_or_few_pictures_are_not_computed() -> None:
    with pytest.raises(NotComputedError, match="at least two classes"):
        class_probe(torch.randn(40, 4), torch.zeros(40, dtype=torch.int64))
    with pytest.raises(NotComputedError, match="at least 10 pictures each"):
        class_probe(torch.randn(40, 4), (torch.arange(40) < 5).long())
