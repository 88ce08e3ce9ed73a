"""The nearest of many, whatever the block; distances that no offset blurs."""

import pytest
import torch

from tokenizer.layers.nearest import nearest


@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_it_finds_what_exhaustive_search_finds(block: int) -> None:
    queries, vectors = torch.randn(37, 5), torch.randn(23, 5)
    distance = (queries.double()[:, None] - vectors.double()[None]).square().sum(dim=2)
    index, score = nearest(queries, vectors, block=block)
    assert torch.equal(index, distance.argmin(dim=1))
    torch.testing.assert_close(score.double(), -0.5 * distance.min(dim=1).values, atol=1e-5, rtol=1e-5)


def test_of_equals_it_takes_the_first() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert nearest(torch.tensor([[0.0, 2.0]]), vectors)[0].item() == 1


def test_a_shared_offset_costs_no_digits() -> None:
    """Expanded squares of vectors far from zero cancel; each code must still be its own nearest."""
    vectors = 1000.0 + 0.01 * torch.randn(200, 4)
    assert torch.equal(nearest(vectors, vectors)[0], torch.arange(200))


def test_scores_compare_across_sets_of_vectors() -> None:
    queries, vectors = torch.randn(9, 3), torch.randn(40, 3)
    whole, best = nearest(queries, vectors)
    (left, left_score), (right, right_score) = nearest(queries, vectors[:15]), nearest(queries, vectors[15:])
    joined = torch.where(left_score >= right_score, left, right + 15)
    assert torch.equal(joined, whole)
    torch.testing.assert_close(torch.maximum(left_score, right_score), best)
