"""Recorded steps: only the rows that were recorded are replayed, and they give what the network gives."""

import pytest
import torch
from torch import Tensor

from service.engine.graphs import RecordedDenoiser
from service.engine.models import Models

CPU = torch.device("cpu")


def test_only_what_was_recorded_is_replayed(loaded: Models) -> None:
    network = loaded.pipelines["shapes"].denoiser
    replayed: list[int] = []

    def record(run: object, z_t: Tensor, t: Tensor, y: Tensor) -> object:
        shapes = [value.shape for value in (z_t, t, y)]

        def replay(*values: Tensor) -> Tensor:
            assert [value.shape for value in values] == shapes
            replayed.append(len(values[0]))
            return network(*values)

        return replay

    denoiser = RecordedDenoiser(network, record)  # type: ignore[arg-type]  # a function of the same arguments
    assert (denoiser.latent_shape, denoiser.num_classes) == (network.latent_shape, network.num_classes)
    denoiser.record(4, CPU)
    assert denoiser.recorded == (4,)
    with torch.inference_mode():
        for rows in (2, 4):
            z, t = torch.randn(rows, *network.latent_shape), torch.rand(rows)
            y = torch.zeros(rows, dtype=torch.int64)
            assert torch.equal(denoiser(z, t, y), network(z, t, y))
    assert replayed == [4]
    denoiser.forget(4)
    assert denoiser.recorded == ()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_replayed_graph_gives_what_the_network_gives_again_and_again(loaded: Models) -> None:
    network = loaded.pipelines["shapes"].denoiser
    assert isinstance(network, torch.nn.Module)
    network = network.to("cuda")
    try:
        denoiser = RecordedDenoiser(network)
        device = torch.device("cuda")
        with torch.inference_mode():
            denoiser.record(4, device)
            results = []
            for seed in range(3):
                torch.manual_seed(seed)
                z = torch.randn(4, *denoiser.latent_shape, device=device)
                t, y = torch.rand(4, device=device), torch.tensor([0, 1, 2, 3], device=device)
                results.append((denoiser(z, t, y), network(z, t, y)))
            for replayed, expected in results:  # none was overwritten by the next
                torch.testing.assert_close(replayed, expected, rtol=0, atol=1e-4)
    finally:
        network.to("cpu")
