"""The grid holds every sample with its photograph to the right, unscaled."""

import numpy as np
import torch

from eval.grid import class_grid


def test_every_pair_is_there_side_by_side() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 256, (6, 3, 24, 24), generator=generator, dtype=torch.uint8)
    rows = [("cat", [(data[0], data[1]), (data[2], data[3])]), ("a longer name", [(data[4], data[5])])]
    image = np.asarray(class_grid(rows, "sample, nearest"))
    places = []
    for picture in data.permute(0, 2, 3, 1).numpy():
        windows = np.lib.stride_tricks.sliding_window_view(image, picture.shape)[:, :, 0]
        found = np.argwhere((windows == picture).all(axis=(2, 3, 4)))
        assert len(found) == 1
        places.append(tuple(found[0]))
    for sample, photograph in zip(places[0::2], places[1::2], strict=True):
        assert sample[0] == photograph[0]
        assert 24 <= photograph[1] - sample[1] < 34
    assert places[0][0] == places[2][0] < places[4][0]
    assert places[0][1] == places[4][1] < places[2][1]
