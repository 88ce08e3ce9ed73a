"""Space and time in channels: the way there and back, and shortcuts without weights."""

import torch

from tokenizer.layers.shuffle import average, duplicate, from_channels, to_channels


def test_there_and_back_is_the_identity() -> None:
    x = torch.randn(2, 3, 4, 6, 8)
    folded = to_channels(x, (2, 2))
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(from_channels(folded, (2, 2)), x)
    assert torch.equal(folded[0, 8:16, 1, 2, 3].view(2, 2, 2), x[0, 1, 2:4, 4:6, 6:8])


def test_averages_of_constants_are_the_constants_and_copies_keep_every_value() -> None:
    x = torch.full((1, 4, 4, 4, 4), 3.0)
    assert torch.equal(average(x, (4, 2), 8), torch.full((1, 8, 1, 2, 2), 3.0))
    z = torch.randn(1, 8, 1, 2, 2)
    grown = duplicate(z, (1, 2), 4)
    assert grown.shape == (1, 4, 1, 4, 4)
    torch.testing.assert_close(average(grown, (1, 2), 8), z)
