"""ViT: sizes as published, any grid, patches where they belong, BSQ-ViT's details, activations to recompute."""

from typing import Any

import pytest
import torch
from torch import nn

from tokenizer.backbones.vit import SIZES, ViTConfig
from tokenizer.config import TokenizerConfig
from tokenizer.layers.recompute import recompute_blocks

PUBLISHED = {"S": 43.3e6, "B": 85.8e6, "L": 383.7e6}  # ViTok, table 1
SMALL: dict[str, Any] = {
    "kind": "vit",
    "latent_channels": 4,
    "patch": 4,
    "encoder": {"width": 16, "depth": 1, "heads": 2},
    "decoder": {"width": 24, "depth": 2, "heads": 3},
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    """Encoder and decoder of a size each have the table's number of parameters, within 2 %."""
    config = ViTConfig.parse({"encoder": name, "decoder": name})
    with torch.device("meta"):
        encoder, decoder = config.build_encoder(32), config.build_decoder()
    for part in (encoder, decoder):
        assert count(part) == pytest.approx(PUBLISHED[name], rel=0.02)
    assert len(list(encoder.blocks())) == len(list(decoder.blocks())) == SIZES[name].depth


def test_s_b_16_is_the_129m_autoencoder() -> None:
    """ViTok, section 3.3: ViTok S-B/16 has 129M parameters."""
    config = ViTConfig()
    with torch.device("meta"):
        total = count(config.build_encoder(32)) + count(config.build_decoder())
    assert total == pytest.approx(129e6, rel=0.02)


@pytest.mark.parametrize(("patch", "channels", "floats"), [(8, 4, 4096), (16, 16, 4096), (32, 32, 2048)])
def test_bottleneck_sweep(patch: int, channels: int, floats: int) -> None:
    """ViTok, section 3.2: the codes that are best for generation, E = floats of a 256x256 picture."""
    config = TokenizerConfig.parse(
        {
            "backbone": {"kind": "vit", "patch": patch, "latent_channels": channels},
            "bottleneck": {"kind": "kl"},
        }
    )
    with torch.device("meta"):
        model = config.build()
        step = model(torch.empty(1, 3, 256, 256))
    assert step.z[0].numel() == floats
    assert step.x_hat.shape == (1, 3, 256, 256)


@pytest.mark.parametrize("positions", ["rotary", "sincos", "learned"])
@pytest.mark.parametrize("size", [(16, 16), (8, 28), (4, 4)])
def test_any_multiple_of_the_patch(positions: str, size: tuple[int, int]) -> None:
    config = ViTConfig.parse(SMALL | {"positions": positions, "learned_side": 4})
    x = torch.rand(2, 3, *size) * 2 - 1
    h = config.build_encoder(4)(x)
    assert h.shape == (2, 4, size[0] // 4, size[1] // 4)
    assert config.build_decoder()(h).shape == x.shape


def test_sizes_that_do_not_divide_are_padded_and_cropped() -> None:
    model = TokenizerConfig.parse({"backbone": SMALL}).build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    x = torch.rand(1, 3, 13, 18) * 2 - 1
    with torch.no_grad():
        assert model.decode(model.encode(x)).shape == x.shape


def test_patches_stay_where_they_are() -> None:
    """Without attention and feed-forward, a change in one patch reaches its own latent and its own patch alone."""
    config = ViTConfig.parse(SMALL | {"encoder": SMALL["decoder"], "positions": "sincos"})
    torch.manual_seed(0)
    encoder, decoder = config.build_encoder(4).eval(), config.build_decoder().eval()
    for part in (encoder, decoder):
        for block in part.blocks():
            nn.init.zeros_(block.attention.proj.weight)
            nn.init.zeros_(block.feed_forward.outer.weight)
    x = torch.rand(1, 3, 12, 16)
    other = x.clone()
    other[:, :, 4:8, 8:12] += 0.5  # the patch in row 1, column 2
    with torch.no_grad():
        moved = (encoder(other) - encoder(x)).abs().amax(dim=1)[0]
        pixels = (decoder(encoder(other)) - decoder(encoder(x))).abs().amax(dim=1)[0]
    assert moved.nonzero().tolist() == [[1, 2]]
    pixels[4:8, 8:12] = 0
    assert float(pixels.max()) == 0


def test_patch_embedding_is_a_convolution_of_stride_patch() -> None:
    encoder = ViTConfig.parse(SMALL).build_encoder(4)
    seen: list[torch.Tensor] = []
    encoder.patch_embed.register_forward_hook(lambda _, __, out: seen.append(out))
    x = torch.randn(1, 3, 8, 12)
    encoder(x)
    kernel = encoder.patch_embed.weight.reshape(16, 3, 4, 4)
    want = nn.functional.conv2d(x, kernel, encoder.patch_embed.bias, stride=4).flatten(2).transpose(1, 2)
    assert torch.allclose(seen[0], want, atol=1e-6)


def test_bsq_vit_details() -> None:
    """Learned positions, a norm first, biases, GELU, and a tanh layer before the pixels: 174M at patch 8."""
    config = ViTConfig.parse(
        {
            "latent_channels": 18,
            "patch": 8,
            "encoder": "B",
            "decoder": "B",
            "feed_forward": "gelu",
            "positions": "learned",
            "learned_side": 32,
            "bias": True,
            "pre_norm": True,
            "head_width": 3072,
        }
    )
    with torch.device("meta"):
        encoder, decoder = config.build_encoder(18), config.build_decoder()
        assert decoder(encoder(torch.empty(1, 3, 256, 320))).shape == (1, 3, 256, 320)
    assert [type(layer).__name__ for layer in decoder.head] == ["Linear", "Tanh", "Linear"]
    assert isinstance(encoder.body.norm_in, nn.LayerNorm)
    # 24 blocks of 12 D^2 + 13 D, two tables, embeddings, head (768 -> 3072 -> 192), norms
    blocks = 24 * (12 * 768**2 + 13 * 768)
    tables = 2 * 1024 * 768
    head = 769 * 3072 + 3073 * 192
    embeddings = 193 * 768 + 769 * 18 + 19 * 768
    assert count(encoder) + count(decoder) == blocks + tables + head + embeddings + 4 * 2 * 768


def test_it_learns() -> None:
    """A few steps on one batch lower its error by half."""
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL | {"latent_channels": 16}}).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4) * 2 - 1, size=(16, 16), mode="bilinear")
    errors = []
    for _ in range(60):
        loss = (model(x).x_hat - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.5 * errors[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "XL"}, "encoder"),
        (
            {"decoder": {"width": 20, "depth": 1, "heads": 3}},
            "decoder: width 20 must be a multiple of heads, 3",
        ),
        ({"decoder": {"width": 18, "depth": 1, "heads": 3}}, "decoder: rotary positions need"),
        ({"positions": "sincos", "encoder": {"width": 18, "depth": 1, "heads": 3}}, "multiple of 4"),
        ({"positions": "alibi"}, "'rotary', 'sincos' or 'learned'"),
        ({"patch": 0}, "patch"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViTConfig.parse(SMALL | changes)


def test_recomputed_activations_give_the_same_gradients() -> None:
    models = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = TokenizerConfig.parse({"backbone": SMALL}).build()
        if recompute:
            recompute_blocks(model.encoder, model.decoder)
        x = torch.rand(1, 3, 16, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
        (model(x).x_hat - x).square().mean().backward()
        models.append(model)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)
