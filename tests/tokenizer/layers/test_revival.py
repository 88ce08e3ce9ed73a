"""Dead codes come back as features, drawn from keys alone."""

import math

import pytest
import torch

from tokenizer.layers.revival import anchors, draw_rows, pull, reset

H = torch.arange(12.0).view(6, 2)


def test_rows_are_drawn_without_repetition_and_from_the_key_alone() -> None:
    torch.manual_seed(0)
    first = draw_rows(H, 6, ("a", 0))
    torch.manual_seed(1)
    assert torch.equal(first, draw_rows(H, 6, ("a", 0)))
    assert not torch.equal(first, draw_rows(H, 6, ("a", 1)))
    assert torch.equal(first.sort(dim=0).values, H)
    many = draw_rows(H, 14, ("a", 0))
    assert many.shape == (14, 2)
    assert sorted((many == row).all(dim=1).sum().item() for row in H)[0] >= 2  # as evenly as can be


def test_reset_gives_every_dead_code_a_feature_of_its_own() -> None:
    dead = torch.tensor([True, False, True, True, False])
    codes, revived = reset(H, dead, ("a", 0))
    assert torch.equal(revived, dead)
    given = codes[revived]
    assert len(given.unique(dim=0)) == 3
    assert all(any(torch.equal(row, feature) for feature in H) for row in given)


def test_reset_serves_no_more_codes_than_there_are_features() -> None:
    codes, revived = reset(H[:2], torch.ones(5, dtype=torch.bool), ("a", 0))
    assert revived.tolist() == [True, True, False, False, False]
    assert torch.equal(codes[:2].sort(dim=0).values, H[:2])
    assert not reset(H, torch.zeros(5, dtype=torch.bool), ("a", 0))[1].any()


def test_the_pull_is_the_papers_closed_form() -> None:
    usage = torch.tensor([0.0, 1e-4, 0.25, 0.5])
    expected = [math.exp(-p * 4 * 10 / 0.01 - 1e-3) for p in usage.tolist()]
    torch.testing.assert_close(pull(usage, 0.99), torch.tensor(expected))
    assert pull(usage, 0.99)[0] > 0.99
    assert pull(usage, 0.99)[2] < 1e-10


def test_the_closest_anchor_is_the_nearest_feature_of_each_code() -> None:
    h, codebook = torch.randn(50, 3), torch.randn(8, 3)
    expected = h[torch.cdist(codebook, h).argmin(dim=1)]
    assert torch.equal(anchors(h, codebook, "closest", ("a", 0)), expected)


@pytest.mark.parametrize("anchor", ["random", "probabilistic"])
def test_a_drawn_anchor_is_a_feature_and_follows_the_key(anchor: str) -> None:
    h, codebook = torch.randn(50, 3), torch.randn(8, 3)
    first = anchors(h, codebook, anchor, ("a", 0))  # type: ignore[arg-type]  # parametrized
    torch.manual_seed(3)
    assert torch.equal(first, anchors(h, codebook, anchor, ("a", 0)))  # type: ignore[arg-type]
    assert not torch.equal(first, anchors(h, codebook, anchor, ("a", 1)))  # type: ignore[arg-type]
    assert all(any(torch.equal(row, feature) for feature in h) for row in first)


def test_probable_anchors_are_drawn_by_their_distance() -> None:
    """4,000 equal codes draw from three features as softmax(-distance^2) says."""
    h = torch.tensor([[0.0], [1.0], [2.0]])
    drawn = anchors(h, torch.zeros(4000, 1), "probabilistic", ("a", 0)).squeeze(1)
    expected = torch.softmax(torch.tensor([0.0, -1.0, -4.0]), dim=0)
    shares = torch.stack([(drawn == value).float().mean() for value in (0.0, 1.0, 2.0)])
    torch.testing.assert_close(shares, expected, atol=0.02, rtol=0.0)
