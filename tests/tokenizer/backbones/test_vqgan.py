"""VQGAN: LlamaGen's sizes, codes of their own width, norms that read them; parity: adapters/diffusers/test_vq.py."""

from typing import Any

import pytest
import torch

from tokenizer.backbones.vqgan import VQGANConfig
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Attention, SpatialNorm
from tokenizer.slice import difference, sliced

SMALL: dict[str, Any] = {
    "kind": "vqgan",
    "latent_channels": 4,
    "inner_channels": 6,
    "widths": (8, 16, 16),
    "blocks_per_level": 1,
    "norm_groups": 4,
    "encoder_attention": (2,),
    "decoder_attention": (2,),
}
CODES: dict[str, Any] = {"kind": "vq", "codebook_size": 16}


def build(**changes: Any) -> Any:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL | changes, "bottleneck": CODES}).build().eval()
    model.spec = model.spec.from_convention(1.0)
    return model


@pytest.mark.parametrize(
    ("widths", "factor", "millions"),
    [((128, 128, 256, 256, 512), 16, 72), ((128, 256, 256, 512), 8, 70)],
    ids=["VQ-16", "VQ-8"],
)
def test_llamagens_published_sizes(widths: tuple[int, ...], factor: int, millions: int) -> None:
    """Parameters of both tokenizers as LlamaGen's README states them, codebook included."""
    last = len(widths) - 1
    config = VQGANConfig(widths=widths, encoder_attention=(last,), decoder_attention=(last,))
    tree = TokenizerConfig(backbone=config, bottleneck={"kind": "vq", "codebook_size": 16384})
    with torch.device("meta"):
        model = tree.build()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.02)
    assert (config.spatial_factor, model.spec.z.codebook_size, model.spec.z.channels) == (factor, 16384, 8)
    found = [name for name, module in model.named_modules() if isinstance(module, Attention)]
    assert len(found) == 2 + 1 + 1 + 3  # after every block of the lowest level, and in both middles


@pytest.mark.parametrize("norm", ["group", "spatial"])
@pytest.mark.parametrize("size", [(13, 18), (1, 5), (32, 24)])
def test_sizes_that_do_not_divide_are_padded_and_cropped(size: tuple[int, int], norm: str) -> None:
    model = build(decoder_norm=norm)
    x = torch.rand(1, 3, *size) * 2 - 1
    with torch.no_grad():
        latent = model.encode(x)
        grid = (-(-size[0] // 4), -(-size[1] // 4))
        assert latent.z.shape[1:] == (4, *grid)
        assert latent.indices["z"].shape[1:] == grid
        assert model.decode(latent).shape == x.shape


def test_a_spatial_decoder_has_no_other_norm_at_its_blocks() -> None:
    decoder = build(decoder_norm="spatial").decoder
    norms = [module for name, module in decoder.named_modules() if name.split(".")[-1] in ("norm1", "norm2")]
    assert norms
    assert all(isinstance(module, SpatialNorm) for module in [*norms, decoder.norm_out])
    assert isinstance(decoder.mid.attention.norm, SpatialNorm)
    assert not any(
        isinstance(module, SpatialNorm) for module in build(decoder_norm="spatial").encoder.modules()
    )


@pytest.mark.parametrize("norm", ["group", "spatial"])
def test_every_parameter_gets_a_gradient(norm: str) -> None:
    model = build(decoder_norm=norm).train()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    step = model(x)
    ((step.x_hat - x).square().mean() + step.bottleneck.loss).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0 or name.endswith("attention.qkv.bias"), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (8, 12, 18)}, "width 18 must be a multiple of norm_groups, 4"),
        ({"decoder_attention": (3,)}, "decoder_attention names positions in widths, 0 to 2"),
        ({"decoder_norm": "layer"}, "group"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VQGANConfig.parse(SMALL | changes)


def test_the_latent_can_lose_channels() -> None:
    config = TokenizerConfig.parse({"backbone": SMALL, "bottleneck": {"kind": "kl"}})
    torch.manual_seed(0)
    whole = config.build().eval()
    cut = sliced(whole, config, 2)
    assert cut.spec.z.channels == 2
    assert difference(whole, cut, torch.rand(1, 3, 16, 24) * 2 - 1) <= 1e-5
    with pytest.raises(ValueError, match="reads every latent channel"):
        VQGANConfig.parse(SMALL | {"decoder_norm": "spatial"}).latent_layers()
