"""Codes at the centres of what the encoder gives: found again from clusters that are there, the same each time."""

import pytest
import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.identity import Identity
from tokenizer.bottlenecks.vq import VQConfig
from tokenizer.clusters import ClustersConfig, place_codes
from tokenizer.core.ema import EMA
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

CENTRES = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def model(update: str = "gradient") -> Autoencoder:
    torch.manual_seed(0)
    bottleneck = VQConfig.parse({"codebook_size": 4, "update": update}).build(2)
    return Autoencoder(nn.Dropout(0.5), bottleneck, nn.Identity(), LatentSpec.image(2, 1)).train()


def batches() -> list[Tensor]:
    """Features (B, 2, 8, 8) near four centres."""
    generator = torch.Generator().manual_seed(0)
    rows = CENTRES.repeat(64, 1) + 0.1 * torch.randn(256, 2, generator=generator)
    return list(rows[torch.randperm(256, generator=generator)].view(2, 2, 8, 8, 2).permute(0, 1, 4, 2, 3))


@pytest.mark.parametrize("update", ["gradient", "ema"])
@pytest.mark.parametrize("features", [10_000, 128])
def test_codes_are_the_means_of_what_chooses_them_and_modes_stay(update: str, features: int) -> None:
    network = model(update)
    place_codes(network, batches(), ClustersConfig(features=features))
    codes = network.bottleneck.codebook.detach()
    rows = torch.cat(batches()).flatten(2).transpose(1, 2).reshape(-1, 2)
    rows = rows[torch.arange(min(features, 256)) * 256 // min(features, 256)]
    chosen = torch.cdist(rows, codes).argmin(dim=1)
    means = torch.stack([rows[chosen == code].mean(dim=0) for code in range(4)])
    torch.testing.assert_close(codes, means, atol=1e-4, rtol=1e-4)
    assert network.encoder.training
    again = model(update)
    place_codes(again, batches(), ClustersConfig(features=features))
    assert torch.equal(network.bottleneck.codebook, again.bottleneck.codebook)


def test_the_average_takes_the_codes_as_they_are() -> None:
    network = model()
    ema = EMA(network, half_life=1e9)
    place_codes(network, batches(), ClustersConfig())
    ema.adopt(network, "bottleneck.")
    assert torch.equal(ema.state_dict()["bottleneck.book.codebook"], network.bottleneck.codebook)


def test_a_model_without_a_codebook_is_refused() -> None:
    network = Autoencoder(nn.Identity(), Identity(2), nn.Identity(), LatentSpec.image(2, 1))
    with pytest.raises(ValueError, match="places the codes of bottleneck vq"):
        place_codes(network, batches(), ClustersConfig())
