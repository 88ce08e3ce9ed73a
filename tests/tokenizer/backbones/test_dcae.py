"""DC-AE: sizes as published, impossible layouts refused. Parity with diffusers: tests of the adapters."""

import pytest
import torch

from tokenizer.backbones.dcae import DCAEConfig

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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ("res",)}, "one entry a stage"),
        ({"encoder_depths": (0, 4, 8, 0, 2, 2)}, "only the first stage"),
        ({"decoder_blocks": ("res",) * 5}, "decoder_blocks needs one entry a stage"),
        ({"attention_kernels": (4,)}, "must be odd"),
        (
            {"widths": (128, 1024, 1024, 1024, 1024, 1024), "encoder_depths": (1,) * 6},
            "shortcut from width 128",
        ),
        ({"latent_channels": 48}, "must divide the last width"),
        ({"widths": (128, 256, 512, 512, 1024, 1030)}, "multiples of 4"),
        ({"head_dim": 1024}, "no head of 1024"),
        (
            {"blocks": ("res",) * 6, "decoder_blocks": ("efficientvit",) * 6, "head_dim": 256},
            "no head of 256",
        ),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCAEConfig.parse(changes)


def test_a_bottleneck_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="must divide the last width"):
        DCAEConfig().build_encoder(24)


def test_each_side_has_its_own_stem_and_blocks() -> None:
    """Lite: the encoder starts at full resolution with attention further down, the decoder ends with its stem."""
    config = DCAEConfig(
        latent_channels=4,
        widths=(8, 8, 16),
        encoder_depths=(1, 1, 1),
        decoder_depths=(0, 1, 2),
        blocks=("res", "res", "efficientvit"),
        decoder_blocks=("res",) * 3,
        decoder_norms=("rms",) * 3,
        decoder_activations=("silu",) * 3,
        head_dim=8,
        attention_kernels=(5,),
        downsampling="conv",
    )
    encoder, decoder = config.build_encoder(4), config.build_decoder()
    x = torch.zeros(1, 3, 24, 32)
    z = encoder(x)
    assert tuple(z.shape) == (1, 4, 6, 8)
    assert decoder(z).shape == x.shape
    kinds = [[type(block).__name__ for block in side.blocks()] for side in (encoder, decoder)]
    assert kinds[0] == ["ResBlock", "Downsample", "ResBlock", "Downsample", "EfficientViTBlock"]
    assert kinds[1] == ["ResBlock", "ResBlock", "Upsample", "ResBlock"]


def test_only_ends_without_shortcuts_can_be_cut() -> None:
    with pytest.raises(ValueError, match="encoder_out_shortcut and decoder_in_shortcut"):
        DCAEConfig().latent_layers()
    free = DCAEConfig(encoder_out_shortcut=False, decoder_in_shortcut=False)
    last, first = free.latent_layers()
    with torch.device("meta"):
        assert free.build_encoder(32).get_submodule(last).weight.shape[0] == 32
        assert free.build_decoder().get_submodule(first).weight.shape[1] == 32
