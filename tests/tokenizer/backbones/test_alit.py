"""ALIT: each number of tokens is a code of its own, rounds refine what is there, and the released sizes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.backbones.alit import ALITConfig
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.quality import encode_to_quality
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.token_dropping import TokenDropping, TokenDroppingConfig
from tokenizer.spec import Latent

SMALL = {"width": 32, "depth": 1, "heads": 2}
BASE = {"channels": 8, "widths": [8, 8, 8, 16], "blocks_per_level": 1, "norm_groups": 4}


def build(bottleneck: dict[str, Any] | None = None, **changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    backbone = {
        "kind": "alit",
        "tokens": 6,
        "step": 2,
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
            if parameter.ndim in (2, 3) or name.endswith("mask"):
                parameter.normal_(std=0.5 if "table" in name or name.endswith("new") else 0.2)
    return model


def picture(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    "changes", [{}, {"positions": "rotary"}, {"base": BASE}], ids=["plain", "rotary", "base"]
)
@pytest.mark.parametrize("size", [(32, 32), (17, 40)])
@torch.no_grad()
def test_every_size_and_every_allowed_count_decodes(size: tuple[int, int], changes: dict[str, Any]) -> None:
    model, x = build(**changes), picture(*size)
    assert model.encode(x).z.shape == (2, 4, 6)
    pictures = []
    for count in (2, 4, 6):
        latent = model.encode(x, num_tokens=count)
        assert latent.z.shape == (2, 4, count)
        pictures.append(model.decode(latent))
        assert pictures[-1].shape == (2, 3, *size)
        assert torch.equal(model.decode(latent, num_tokens=count), pictures[-1])
    assert torch.equal(model.decode(model.encode(x)), pictures[-1])


@torch.no_grad()
def test_a_row_is_not_the_beginning_of_a_longer_one() -> None:
    model, x = build(), picture(32, 32)
    short, long = model.encode(x, num_tokens=2), model.encode(x, num_tokens=4)
    assert not torch.allclose(short.z, long.z[..., :2], atol=1e-2)
    with pytest.raises(ValueError, match="the first 2 of 4 tokens are no code of their own here"):
        model.decode(long, num_tokens=2)


@torch.no_grad()
def test_counts_between_rounds_are_refused_with_those_that_are_allowed() -> None:
    model, x = build(), picture(32, 32)
    for count in (0, 3, 8):
        with pytest.raises(ValueError, match=f"2, 4, 6 tokens, not {count}"):
            model.encode(x, num_tokens=count)
    latent = model.encode(x)
    with pytest.raises(ValueError, match=r"part 'z' is \(4, 5\)"):
        model.decode(Latent({"z": latent.z[..., :5]}, latent.size))


@torch.no_grad()
def test_codes_alone_decode_at_every_count() -> None:
    model, x = build({"kind": "vq", "codebook_size": 16}), picture(32, 32)
    for count in (2, 4, 6):
        latent = model.encode(x, num_tokens=count)
        alone = Latent({}, latent.size, indices=latent.indices)
        torch.testing.assert_close(model.decode(alone), model.decode(latent), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_round_sees_the_whole_picture() -> None:
    model, x = build(), picture(32, 40)
    changed = x.clone()
    changed[:, :, :8, :8] = 0.0
    for count in (2, 6):
        first, second = (model.encode(pixels, num_tokens=count).z for pixels in (x, changed))
        assert ((first - second).abs().amax(dim=1) > 0).all()


def test_a_training_step_makes_the_tokens_that_it_draws_and_rounds_left_out_have_no_gradient() -> None:
    model = build({"kind": "vq", "codebook_size": 16, "update": "gradient"}).train()
    dropping = TokenDropping([2, 4, 6])
    regularized = Regularized(model, {"token_dropping": dropping})
    x, seen = picture(32, 32), {}
    for key in range(20):
        draw = Draw(torch.arange(2), key, 8)
        if dropping.kept(key) in seen:
            continue
        model.zero_grad(set_to_none=True)
        step = regularized(x, draw)
        count = dropping.kept(key)
        assert step.z.shape == step.bottleneck.z.shape == (2, 4, count)
        (step.x_hat.square().mean() + step.bottleneck.loss).backward()
        gradient = model.encoder.round_table.grad
        assert isinstance(gradient, Tensor)
        moved = gradient.flatten(1).abs().amax(dim=1) > 0
        assert moved.tolist() == [index < count // 2 for index in range(3)]
        seen[count] = True
    assert sorted(seen) == [2, 4, 6]


def test_a_regularizer_that_asks_for_other_counts_is_refused() -> None:
    part = build().spec.z
    TokenDroppingConfig(counts=(2, 6)).check(part)
    with pytest.raises(ValueError, match=r"has 2, 4, 6 tokens, got counts \[2, 3\]"):
        TokenDroppingConfig(counts=(2, 3)).check(part)


def test_quality_chooses_among_the_rounds() -> None:
    model, x = build(), picture(32, 32)
    with torch.no_grad():
        latents = encode_to_quality(model, x, psnr=1000.0)
    assert [latent.z.shape[-1] for latent in latents] == [6, 6]
    assert encode_to_quality(model, x, psnr=-50.0)[0].z.shape[-1] == 2


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens 100 must be a multiple of step, 32"):
        ALITConfig.parse({"tokens": 100})
    with pytest.raises(ValueError, match="2 widths make patches of 2, not 16"):
        ALITConfig.parse({"base": {"widths": [32, 32]}})
    with pytest.raises(ValueError, match="multiple of heads"):
        ALITConfig.parse({"encoder": {"width": 30, "depth": 1, "heads": 4}})


@pytest.mark.parametrize(
    ("size", "width", "depth"), [("small", 1024, 8), ("base", 768, 12), ("semilarge", 1024, 16)]
)
def test_the_transformers_have_the_released_sizes(size: str, width: int, depth: int) -> None:
    """12 D^2 weights a block, in the encoder, whose rounds share them, and in the decoder."""
    with torch.device("meta"):
        config = ALITConfig.parse({"encoder": size, "decoder": size})
        encoder, decoder = config.build_encoder(12), config.build_decoder()
    for blocks in (encoder.body, decoder.body.blocks):
        count = sum(parameter.numel() for parameter in blocks.parameters())
        assert math.isclose(count, 12 * width**2 * depth, rel_tol=0.02)
    assert encoder.round_table.shape == (8, 32, width)
