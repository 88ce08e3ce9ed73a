"""DC-AE: sizes as published, shortcuts as defined, attention equal in both forms. Parity: tests of the adapters."""

import pytest
import torch

from tokenizer.backbones.dcae import DCAEConfig, Downsample, LinearAttention, Upsample

PUBLISHED = {"f32c32": 323.4e6, "f64c128": 676.9e6}


def config_of(name: str) -> DCAEConfig:
    """The published layouts, by the number of stages."""
    latent, widths = {
        "f32c32": (32, (128, 256, 512, 512, 1024, 1024)),
        "f64c128": (128, (128, 256, 512, 512, 1024, 1024, 2048)),
        "f128c512": (512, (128, 256, 512, 512, 1024, 1024, 2048, 2048)),
    }[name]
    deep = len(widths) - 3
    return DCAEConfig(
        latent_channels=latent,
        widths=widths,
        encoder_depths=(0, 4, 8, *(2,) * deep),
        decoder_depths=(0, 5, 10, *(2,) * deep),
        blocks=("res",) * 3 + ("efficientvit",) * deep,
        decoder_norms=("batch",) * 3 + ("rms",) * deep,
        decoder_activations=("relu",) * 3 + ("silu",) * deep,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    config = config_of(name)
    with torch.device("meta"):
        parts = [config.build_encoder(config.latent_channels), config.build_decoder()]
    total = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert total == pytest.approx(PUBLISHED[name], rel=1e-3)


@pytest.mark.parametrize("name", ["f32c32", "f64c128", "f128c512"])
def test_shapes(name: str) -> None:
    config = config_of(name)
    with torch.device("meta"):
        x = torch.empty(1, 3, 256, 384)
        h = config.build_encoder(config.latent_channels)(x)
        factor = config.spatial_factor
        assert tuple(h.shape) == (1, config.latent_channels, 256 // factor, 384 // factor)
        assert config.build_decoder()(h).shape == x.shape


def test_shortcuts_alone_keep_the_mean() -> None:
    """With zero convolutions, down averages groups of unshuffled channels and up repeats: up(down) is a blur."""
    down, up = Downsample(4, 8), Upsample(8, 4)
    for module in (down, up):
        module.requires_grad_(False)
        torch.nn.init.zeros_(module.conv.weight)
        torch.nn.init.zeros_(module.conv.bias)
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    want = torch.nn.functional.pixel_unshuffle(x, 2).view(1, 8, 2, 2, 2).mean(dim=2)
    assert torch.equal(down(x), want)
    assert tuple(up(down(x)).shape) == (1, 4, 4, 4)
    assert float(up(down(x)).mean()) == pytest.approx(float(x.mean()), abs=1e-6)


def test_linear_and_quadratic_attention_are_one_function() -> None:
    attention = LinearAttention(16, head_dim=8)
    q, k, v = torch.rand(3, 2, 2, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(attention._linear(q, k, v), attention._quadratic(q, k, v), atol=1e-12)


def test_heads_interleave_q_k_and_v() -> None:
    """Zeroing the first head_dim rows of the fused weight silences the queries of head 0 and nothing else."""
    torch.manual_seed(0)
    attention = LinearAttention(16, head_dim=8).double().requires_grad_(False)
    x = torch.randn(1, 16, 5, 5, dtype=torch.float64)
    seen = {}
    attention.proj.register_forward_hook(lambda _, args, __: seen.update(h=args[0]))
    attention(x)
    before = seen["h"]
    attention.qkv.weight[:8] = 0
    attention(x)
    assert float(seen["h"][:, :8].abs().max()) == 0.0
    assert torch.equal(seen["h"][:, 8:], before[:, 8:])


def test_attention_survives_half_precision() -> None:
    """Sums over 4096 positions overflow float16 unless the ratio is taken in float32."""
    torch.manual_seed(0)
    attention = LinearAttention(16, head_dim=8).half()
    out = attention(20 * torch.randn(1, 16, 64, 64, dtype=torch.float16))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("res",)}, "one entry a stage"),
        ({"encoder_depths": (0, 4, 8, 0, 2, 2)}, "only the first stage"),
        ({"encoder_depths": (1, 4, 8, 2, 2, 2)}, "both have a downsampling stem"),
        ({"latent_channels": 48}, "must divide the last width"),
        ({"widths": (128, 256, 512, 512, 1024, 1030)}, "multiples of 4"),
        ({"head_dim": 1024}, "no head of 1024"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCAEConfig.parse(changes)


def test_a_bottleneck_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide the last width"):
        DCAEConfig().build_encoder(24)
