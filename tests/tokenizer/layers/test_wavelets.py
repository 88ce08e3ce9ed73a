"""The Haar transform is orthonormal and exactly invertible."""

import torch

from tokenizer.layers.wavelets import haar, inverse_haar


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
