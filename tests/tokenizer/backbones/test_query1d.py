"""Rows of tokens: any size of picture, any allowed prefix, and the size of TiTok."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.backbones.query1d import Query1DConfig
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent
from tokenizer.tiling import TilePlan

SMALL = {"width": 32, "depth": 1, "heads": 2}


def build(bottleneck: dict[str, Any] | None = None, **changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    backbone = {
        "kind": "query1d",
        "tokens": 6,
        "min_tokens": 2,
        "latent_channels": 4,
        "patch": 8,
        "learned_side": 4,
        "encoder": SMALL,
        "decoder": SMALL,
    }
    tree = {"backbone": backbone | changes, "bottleneck": bottleneck or {"kind": "identity"}}
    model = TokenizerConfig.parse(tree).build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.5] * 4, [2.0] * 4)})
    with torch.no_grad():  # what fresh weights hardly do
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 or name.endswith("mask"):
                parameter.normal_(std=0.5 if "table" in name else 0.2)
    return model


def picture(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("size", [(32, 32), (24, 56), (17, 9)])
@torch.no_grad()
def test_every_size_has_the_same_number_of_tokens(size: tuple[int, int], positions: str) -> None:
    model = build(positions=positions)
    latent = model.encode(picture(*size))
    assert latent.z.shape == (2, 4, 6)
    assert model.decode(latent).shape == (2, 3, *size)


@torch.no_grad()
def test_tokens_tell_of_the_whole_picture_so_tiles_are_left_aside() -> None:
    model, x = build(), picture(32, 40)
    latent = model.encode(x)
    tiled = model.encode(x, tiles=TilePlan(tile=16, overlap=8))
    assert torch.equal(tiled.z, latent.z)
    assert torch.equal(model.decode(latent, tiles=TilePlan(tile=16, overlap=8)), model.decode(latent))
    turned = x.clone()
    turned[:, :, :8, :8] = 0.0
    assert ((model.encode(turned).z - latent.z).abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("bottleneck", [{"kind": "identity"}, {"kind": "vq", "codebook_size": 16}])
@torch.no_grad()
def test_every_allowed_prefix_decodes_the_same_from_either_side(bottleneck: dict[str, Any]) -> None:
    model, x = build(bottleneck), picture(32, 32)
    whole = model.encode(x)
    for count in range(2, 7):
        short = model.encode(x, num_tokens=count)
        assert short.z.shape == (2, 4, count)
        assert torch.equal(short.z, whole.z[..., :count])
        assert torch.equal(model.decode(short), model.decode(whole, num_tokens=count))
        if short.indices:
            alone = Latent({}, short.size, indices=short.indices)
            torch.testing.assert_close(model.decode(alone), model.decode(short), atol=1e-5, rtol=1e-5)
    assert not torch.equal(model.decode(whole), model.decode(whole, num_tokens=3))


@torch.no_grad()
def test_counts_that_are_not_allowed_are_refused_with_those_that_are() -> None:
    model, x = build(), picture(32, 32)
    for count in (0, 1, 7):
        with pytest.raises(ValueError, match=f"2 to 6 tokens, not {count}"):
            model.encode(x, num_tokens=count)
    with pytest.raises(ValueError, match="has 3 tokens, 5 were asked for"):
        model.decode(model.encode(x, num_tokens=3), num_tokens=5)
    latent = model.encode(x)
    with pytest.raises(ValueError, match=r"part 'z' is \(4, 1\)"):
        model.decode(Latent({"z": latent.z[..., :1]}, latent.size))
    fixed = build(min_tokens=None)
    with pytest.raises(ValueError, match="6 tokens, not 5"):
        fixed.encode(x, num_tokens=5)


def test_the_order_of_the_row_matters() -> None:
    model = build()
    with torch.no_grad():
        latent = model.encode(picture(32, 32))
        swapped = Latent({"z": latent.z.flip(-1)}, latent.size)
        assert not torch.allclose(model.decode(swapped), model.decode(latent), atol=1e-4)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="min_tokens 9 must not be above tokens, 8"):
        Query1DConfig.parse({"tokens": 8, "min_tokens": 9})
    with pytest.raises(ValueError, match="placed needs positions rotary"):
        Query1DConfig.parse({"placed": True})
    with pytest.raises(ValueError, match="multiple of heads"):
        Query1DConfig.parse({"encoder": {"width": 30, "depth": 1, "heads": 4}})
    with pytest.raises(ValueError, match="scales belong to a 2d part"):
        build({"kind": "multiscale_vq", "codebook_size": 8, "scales": [1, 2], "num_phi": 2})


@pytest.mark.parametrize(("size", "millions"), [("S", 25.5), ("B", 85.3), ("L", 302.6)])
def test_the_bodies_have_the_sizes_of_vision_transformers(size: str, millions: float) -> None:
    """TiTok's encoder and decoder are ViTs of these widths and depths: 12 D^2 and some a block."""
    with torch.device("meta"):
        encoder = Query1DConfig.parse({"encoder": size}).build_encoder(12)
    count = sum(parameter.numel() for parameter in encoder.body.blocks.parameters())
    assert math.isclose(count / 1e6, millions, rel_tol=0.02)
