"""Soft codes: within the codes' hull, hard in the limit, differentiable throughout, shared out over codebooks."""

import pytest
import torch
from torch.nn import functional as F

from tokenizer.bottlenecks.softvq import SoftVQ, SoftVQConfig


def build(channels: int = 6, **changes: object) -> SoftVQ:
    torch.manual_seed(0)
    return SoftVQConfig.parse({"codebook_size": 8, "num_codebooks": 2, **changes}).build(channels)


def features(channels: int = 6, tokens: int = 4) -> torch.Tensor:
    return torch.randn(3, channels, tokens, generator=torch.Generator().manual_seed(1))


def test_a_token_is_the_mean_of_the_codes_under_its_distribution() -> None:
    module, h = build(), features()
    z = module(h).z
    for token in range(4):
        codes = module.codebooks[token // 2]  # the first half of the row has the first codebook
        p = (F.normalize(h[:, :, token], dim=1) @ codes.T / 0.07).softmax(dim=1)
        torch.testing.assert_close(z[:, :, token], p @ codes)


def test_shares_of_channels_are_mixed_apart() -> None:
    module, h = build(groups="channels"), features()
    z = module(h).z
    for share in range(2):
        part = h[:, 3 * share : 3 * share + 3].transpose(1, 2)
        p = (F.normalize(part, dim=-1) @ module.codebooks[share].T / 0.07).softmax(dim=-1)
        torch.testing.assert_close(
            z[:, 3 * share : 3 * share + 3].transpose(1, 2), p @ module.codebooks[share]
        )


def test_cold_it_is_the_nearest_code_and_warm_the_mean_of_all() -> None:
    h = features()
    cold, warm = build(temperature=1e-4, num_codebooks=1), build(temperature=1e4, num_codebooks=1)
    rows = F.normalize(h, dim=1).transpose(1, 2)
    nearest = cold.codebooks[0][(rows @ cold.codebooks[0].T).argmax(dim=-1)]
    torch.testing.assert_close(cold(h).z.transpose(1, 2), nearest)
    mean = warm.codebooks[0].mean(dim=0)
    torch.testing.assert_close(warm(h).z, mean[None, :, None].expand_as(h), atol=1e-4, rtol=0.0)


def test_z_follows_h_without_a_straight_through_estimate() -> None:
    """The gradient is that of the function itself: finite differences agree."""
    module = build(temperature=0.5).double()
    h = features().double().requires_grad_()
    direction = torch.randn(h.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def value(at: torch.Tensor) -> torch.Tensor:
        return module(at).z.double().square().sum()

    (gradient,) = torch.autograd.grad(value(h), h)
    with torch.no_grad():
        step = 1e-2
        slope = (value(h + step * direction) - value(h - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-2)


def test_the_loss_decides_tokens_and_spreads_them() -> None:
    torch.manual_seed(0)
    module = build(num_codebooks=1, entropy=1.0, entropy_temperature=0.3)
    h = (torch.randn(6, 1) + 0.3 * torch.randn(16, 6, 8)).requires_grad_()  # all of them near a few codes
    before = module(h).stats
    optimizer = torch.optim.Adam([h], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        module(h).loss.backward()
        optimizer.step()
    after = module(h).stats
    assert after["sample_entropy"] < before["sample_entropy"]
    assert after["batch_entropy"] > before["batch_entropy"]


def test_channels_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match="latent_channels 5 must be a multiple of num_codebooks, 2"):
        build(5, groups="channels")
