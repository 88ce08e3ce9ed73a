"""The Haar transform is orthonormal and exactly invertible."""

import torch

from tokenizer.layers.wavelets import (
    frames_haar,
    frames_inverse_haar,
    haar,
    haar3d,
    inverse_haar,
    inverse_haar3d,
)


def test_round_trip_and_energy() -> None:
    x = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    bands = haar(x)
    assert tuple(bands.shape) == (2, 4, 3, 3, 5)
    assert float((inverse_haar(bands) - x).abs().max()) < 1e-6
    assert torch.allclose(bands.square().sum(), x.square().sum(), rtol=1e-5)


def test_bands_mean_what_they_say() -> None:
    flat = haar(torch.full((1, 1, 2, 2), 3.0))[0, :, 0, 0, 0]
    assert flat.tolist() == [6.0, 0.0, 0.0, 0.0]
    columns = haar(torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]]))[0, :, 0, 0, 0]
    assert columns.tolist() == [0.0, 2.0, 0.0, 0.0]
    rows = haar(torch.tensor([[[[1.0, 1.0], [-1.0, -1.0]]]]))[0, :, 0, 0, 0]
    assert rows.tolist() == [0.0, 0.0, 2.0, 0.0]


def test_three_dimensions_keep_the_energy_and_come_back() -> None:
    x = torch.randn(2, 3, 4, 6, 8, dtype=torch.float64)
    bands = haar3d(x)
    assert bands.shape == (2, 24, 2, 3, 4)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())
    torch.testing.assert_close(inverse_haar3d(bands), x, rtol=0, atol=1e-12)
    still = torch.full((1, 3, 2, 2, 2), 0.5)
    assert torch.allclose(haar3d(still)[0, :3], torch.tensor(0.5 * 8**0.5))
    assert not haar3d(still)[0, 3:].any()


def test_frames_are_transformed_one_by_one() -> None:
    x = torch.randn(2, 3, 5, 4, 6, dtype=torch.float64)
    bands = frames_haar(x)
    torch.testing.assert_close(bands[:, :, 2], haar(x[:, :, 2]).flatten(1, 2))
    torch.testing.assert_close(frames_inverse_haar(bands), x, rtol=0, atol=1e-12)
