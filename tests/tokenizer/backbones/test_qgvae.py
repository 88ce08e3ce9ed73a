"""Global codes: tokens of the whole picture at any size, prefixes whose missing maps are zero, shared linear maps."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer.backbones.qgvae import GroupedLinear, QGVAEConfig, mapped, resized, wave_positions
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder

CHANNELS = 5


def build(bottleneck: dict[str, Any] | None = None, **changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    backbone = {
        "kind": "qgvae",
        "tokens": 6,
        "min_tokens": 2,
        "heads": 3,
        "latent_channels": CHANNELS,
        "widths": [8, 8, 12],
        "factor": 2,
        "side": 8,
        "octaves": 3,
        "norm_groups": 4,
    }
    tree = {"backbone": backbone | changes, "bottleneck": bottleneck or {"kind": "identity"}}
    model = TokenizerConfig.parse(tree).build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.5] * CHANNELS, [2.0] * CHANNELS)})
    return model


def picture(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (9, 17)])
@pytest.mark.parametrize("factor", [1, 2, 4])
@torch.no_grad()
def test_every_size_has_the_same_number_of_tokens(size: tuple[int, int], factor: int) -> None:
    model = build(factor=factor, side=16 // factor)
    latent = model.encode(picture(*size))
    assert latent.z.shape == (2, CHANNELS, 6)
    assert model.decode(latent).shape == (2, 3, *size)


@torch.no_grad()
def test_every_token_tells_of_the_whole_picture() -> None:
    """A change of one corner moves all tokens, and a change of one token moves every corner."""
    model, x = build(), picture(16, 16)
    latent = model.encode(x)
    changed = x.clone()
    changed[:, :, :4, :4] = 1.0
    assert ((model.encode(changed).z - latent.z).abs().amax(dim=1) > 1e-6).all()
    other = latent.z.clone()
    other[:, :, 3] += 1.0
    moved = (model.decoder(other, (16, 16)) - model.decoder(latent.z, (16, 16))).abs().amax(dim=1)
    for rows in (slice(0, 4), slice(12, 16)):
        for columns in (slice(0, 4), slice(12, 16)):
            assert float(moved[:, rows, columns].amin(dim=0).max()) > 1e-6


@pytest.mark.parametrize("bottleneck", [None, {"kind": "token_vq", "tokens": 6, "codebook_size": 16}])
@torch.no_grad()
def test_every_allowed_prefix_decodes(bottleneck: dict[str, Any] | None) -> None:
    model, x = build(bottleneck), picture(16, 16)
    whole = model.encode(x)
    for count in range(2, 7):
        short = model.encode(x, num_tokens=count)
        assert torch.equal(short.z, whole.z[..., :count])
        assert torch.equal(model.decode(short), model.decode(whole, num_tokens=count))
    assert not torch.equal(model.decode(whole), model.decode(whole, num_tokens=3))


@torch.no_grad()
def test_the_maps_of_missing_tokens_are_zero() -> None:
    model = build()
    z, seen = torch.randn(2, CHANNELS, 4), []
    handle = model.decoder.pixels.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    model.decoder(z, (16, 16))
    handle.remove()
    (maps,) = seen
    assert maps.shape == (2, 6, 8, 8)
    assert (maps[:, 4:] == 0).all()
    assert (maps[:, :4].abs().flatten(2).amax(dim=2) > 0).all()


def test_groups_of_maps_share_a_linear_map() -> None:
    torch.manual_seed(0)
    layer = GroupedLinear(6, 3, 4, 2)
    rows = torch.randn(2, 6, 4)
    out = layer(rows)
    for row in range(6):
        expected = F.linear(rows[:, row], layer.weight[row // 2].T, layer.bias[row // 2, 0])
        torch.testing.assert_close(out[:, row], expected)


@pytest.mark.parametrize("size", [(3, 5), (12, 20)])
def test_a_pointwise_map_and_a_change_of_size_commute(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Conv2d(4, 3, 1), torch.randn(2, 4, 6, 10)
    torch.testing.assert_close(mapped(layer, x, size), layer(resized(x, size)), atol=1e-5, rtol=1e-5)


def test_positions_are_those_of_places_not_of_pixels() -> None:
    like = torch.zeros(1)
    fine, coarse = wave_positions((8, 4), 3, like), wave_positions((4, 2), 3, like)
    assert fine.shape == (12, 8, 4)
    torch.testing.assert_close(fine[:, ::2, ::2], coarse)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens 10 must be a multiple of heads, 4"):
        QGVAEConfig.parse({"tokens": 10, "heads": 4})
    with pytest.raises(ValueError, match="factor 8: with 3 widths it can be 1, 2, 4"):
        QGVAEConfig.parse({"factor": 8})
    with pytest.raises(ValueError, match="min_tokens 99"):
        QGVAEConfig.parse({"min_tokens": 99})
