"""Oriented gradients: parity with scikit-image, invariance to light, and directions told apart."""

import numpy
import pytest
import torch
from skimage.feature import hog as reference

from tokenizer.layers.hog import hog, hog_channels


def picture(side: int = 32) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_it_is_that_of_scikit_image() -> None:
    """Inside the picture (the border is padded otherwise), one colour, cells brought to unit length one by one."""
    x = picture()[:, :1]
    ours = hog(x, 8)[0].view(4, 4, 9)[1:-1, 1:-1].numpy()
    theirs = reference(
        x[0, 0].numpy().astype(numpy.float64),
        pixels_per_cell=(8, 8),
        cells_per_block=(1, 1),
        block_norm="L2",
        feature_vector=False,
    )[1:-1, 1:-1, 0, 0]
    # Theirs counts directions from the other axis and takes votes at the far border of an orientation.
    agreement = [(ours * numpy.roll(theirs, shift, axis=-1)).sum(-1).mean() for shift in range(9)]
    turned = [(ours * numpy.roll(theirs[..., ::-1], shift, axis=-1)).sum(-1).mean() for shift in range(9)]
    assert max(agreement + turned) > 0.98


def test_brightness_and_contrast_change_nothing() -> None:
    x = picture()
    torch.testing.assert_close(hog(0.3 * x + 0.5, 16), hog(x, 16), atol=1e-4, rtol=1e-3)


def test_stripes_vote_for_their_direction_and_flat_cells_for_none() -> None:
    rows = torch.linspace(0, 12, 32)[:, None].expand(32, 32).sin()
    across, down = (hog(x.expand(1, 3, 32, 32), 16).view(4, 3, 9, 4) for x in (rows, rows.T))
    assert across[..., 4, :].min() > 0.9  # gradients point down: half of half a turn
    assert down[..., 4, :].max() < 0.1
    assert not hog(torch.ones(1, 3, 16, 16), 16).any()


def test_shapes_are_those_that_are_announced() -> None:
    assert hog(picture(), 16).shape == (1, 4, hog_channels(16)) == (1, 4, 108)
    with pytest.raises(ValueError, match="patch 12 must be a multiple of the cell, 8"):
        hog(picture(24), 12)
