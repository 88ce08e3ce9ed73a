"""Token dropping keeps the first tokens, draws every count, and asks nobody but the step."""

from collections import Counter

import pytest
import torch

from tokenizer.regularizers.base import Draw
from tokenizer.regularizers.token_dropping import TokenDropping, TokenDroppingConfig
from tokenizer.spec import PartSpec


def row(num_tokens: int | tuple[int, int]) -> PartSpec:
    return PartSpec(layout="1d", channels=4, num_tokens=num_tokens)


def test_the_first_tokens_stay_and_the_pixels_too() -> None:
    dropping = TokenDropping([1, 3, 8])
    z, x = torch.randn(2, 4, 8), torch.zeros(2, 3, 16, 16)
    seen = set()
    for step in range(40):
        kept, pixels = dropping.perturb(z, x, Draw(torch.arange(2), step))
        assert pixels is x
        assert torch.equal(kept, z[..., : kept.shape[-1]])
        seen.add(kept.shape[-1])
    assert seen == {1, 3, 8}


def test_counts_are_drawn_alike_and_from_the_step_alone() -> None:
    dropping = TokenDropping([1, 2, 4])
    drawn = Counter(dropping.kept(step) for step in range(3000))
    for count in (1, 2, 4):
        assert drawn[count] / 3000 == pytest.approx(1 / 3, abs=0.03)
    z, x = torch.randn(5, 4, 4), torch.zeros(5, 3, 8, 8)
    shapes = {dropping.perturb(z[:n], x[:n], Draw(torch.arange(n), 7))[0].shape[-1] for n in (1, 3, 5)}
    assert len(shapes) == 1


def test_what_cannot_work_is_refused_with_the_field() -> None:
    with pytest.raises(ValueError, match=r"counts must rise from at least 1, got \[4, 2\]"):
        TokenDroppingConfig.parse({"counts": [4, 2]})
    config = TokenDroppingConfig(counts=(2, 8))
    config.check(row((1, 8)))
    with pytest.raises(ValueError, match="use channel_dropping for a grid"):
        config.check(PartSpec(channels=8))
    with pytest.raises(ValueError, match="3 to 8 tokens"):
        config.check(row((3, 8)))
    with pytest.raises(ValueError, match="only 8: give the backbone min_tokens"):
        config.check(row(8))
