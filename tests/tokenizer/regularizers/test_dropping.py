"""Channel dropping keeps the first channels, draws every choice, and is a function of the samples' keys alone."""

import pytest
import torch

from tokenizer.regularizers.base import Draw
from tokenizer.regularizers.dropping import ChannelDropping, ChannelDroppingConfig
from tokenizer.spec import PartSpec


def draw(first: int, count: int) -> Draw:
    return Draw(keys=torch.arange(first, first + count), step=0)


def test_the_first_channels_stay_as_they_are_and_the_others_are_zero() -> None:
    dropping = ChannelDropping([2, 5])
    z = torch.randn(16, 8, 3, 2, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(16, 3, 6, 4)
    masked, pixels = dropping.perturb(z, x, draw(0, 16))
    assert pixels is x
    kept = dropping.kept(8, torch.arange(16))
    for row, count in enumerate(kept.tolist()):
        assert torch.equal(masked[row, :count], z[row, :count])
        assert float(masked[row, count:].abs().sum()) == 0.0


def test_gradients_reach_the_kept_channels_only() -> None:
    z = torch.ones(8, 4, 1, 1, requires_grad=True)
    dropping = ChannelDropping([1, 2])
    dropping.perturb(z, torch.zeros(8, 3, 4, 4), draw(0, 8))[0].sum().backward()
    assert z.grad is not None
    assert z.grad.sum(dim=(1, 2, 3)).tolist() == dropping.kept(4, torch.arange(8)).tolist()


def test_all_choices_are_drawn_alike() -> None:
    kept = ChannelDropping([2, 4, 6]).kept(8, torch.arange(4000))
    for count in (2, 4, 6, 8):
        assert float((kept == count).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_ends_take_their_share() -> None:
    kept = ChannelDropping([2, 4, 6], ends=0.6).kept(8, torch.arange(4000))
    for count, share in ((2, 0.3 + 0.1), (4, 0.1), (6, 0.1), (8, 0.3 + 0.1)):
        assert float((kept == count).float().mean()) == pytest.approx(share, abs=0.03)
    assert set(ChannelDropping([2, 4, 6], ends=1.0).kept(8, torch.arange(100)).tolist()) == {2, 8}


def test_a_sample_draws_the_same_whatever_batch_it_is_in() -> None:
    dropping = ChannelDropping([1, 2, 3])
    together = dropping.kept(4, torch.arange(10))
    assert torch.equal(together, torch.cat([dropping.kept(4, torch.arange(n, n + 5)) for n in (0, 5)]))


def test_impossible_counts_are_refused_with_the_field() -> None:
    with pytest.raises(ValueError, match=r"counts must rise from at least 1, got \[4, 2\]"):
        ChannelDroppingConfig.parse({"counts": [4, 2]})
    config = ChannelDroppingConfig(counts=(2, 8))
    with pytest.raises(ValueError, match="counts must be below the latent's 8 channels"):
        config.check(PartSpec(channels=8))
    with pytest.raises(ValueError, match="counts must be below the latent's 8 channels"):
        config.build(PartSpec(channels=8)).kept(8, torch.arange(2))
