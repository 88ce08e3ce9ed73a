"""VQModel and ours: the same weights give the same codes and pictures, in both directions."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from tests.tokenizer.adapters.diffusers.parity import (
    UNEVEN,
    VQ,
    assert_close,
    assert_identical,
    assert_same,
    picture,
    tiny,
    vq,
)
from tokenizer.adapters.diffusers import from_diffusers, load_diffusers, to_diffusers
from tokenizer.adapters.diffusers import vq as adapter
from tokenizer.config import TokenizerConfig
from tokenizer.export import export
from tokenizer.spec import Latent


@pytest.mark.parametrize("case", VQ)
def test_vq_equals_diffusers_and_comes_back(case: str) -> None:
    theirs: Any = vq(**VQ[case])
    ours = from_diffusers(theirs)
    x = picture()
    assert_same(ours, theirs, x)

    h = theirs.encode(x).latents
    assert_close(ours.encoder(x), h)  # before quantization too
    indices = ours.encode(x).indices["z"]
    assert torch.equal(indices.flatten(), theirs.quantize(h)[2][2])
    assert len(indices.unique()) > 3
    assert_close(ours(x).x_hat, theirs(x).sample)

    assert_identical(to_diffusers(ours), theirs)


def test_a_picture_comes_from_indices_alone() -> None:
    theirs: Any = vq(norm_type="spatial")
    ours = from_diffusers(theirs)
    assert ours.spec.z.codebook_size == 24
    indices = torch.randint(0, 24, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    x_hat = ours.decode(Latent({}, (10, 14), indices={"z": indices}))
    codes = theirs.quantize.get_codebook_entry(indices, (2, 5, 7, 4))
    assert_close(x_hat, theirs.decode(codes).sample)


@pytest.mark.parametrize("case", ["as published", "MoVQ with attention at levels"])
def test_a_folder_loads_exports_and_loads(case: str, tmp_path: Path) -> None:
    theirs = vq(**VQ[case])
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_diffusers(tmp_path / "theirs")
    assert_same(ours, theirs, picture())
    exported = export(ours, tmp_path / "out")
    assert (exported.name, exported.exact) == ("VQModel", True)
    assert exported.difference <= 1e-5
    assert_identical(diffusers.VQModel.from_pretrained(tmp_path / "out"), theirs)


def test_what_is_loaded_can_be_trained() -> None:
    """The codebook's pull is not the part that is weighed by beta: gradients of both sides as in the paper."""
    ours = from_diffusers(vq()).train().requires_grad_(True)
    out = ours.bottleneck(ours.encoder(picture()).detach().requires_grad_(True))
    h = ours.encoder(picture()).detach()
    z = ours.bottleneck.codebook[out.indices].movedim(-1, 1)
    assert out.loss.item() == pytest.approx(1.25 * (z - h).square().mean().item(), rel=1e-4)
    out.loss.backward()
    chosen = int(out.indices[0, 0, 0])
    rows = h.movedim(1, -1)[out.indices == chosen]
    pull = 2 * (ours.bottleneck.codebook[chosen] - rows).sum(dim=0) / h.numel()
    torch.testing.assert_close(ours.bottleneck.book.codebook.grad[chosen], pull, rtol=1e-3, atol=1e-7)


def test_our_weights_cross_over_and_back_unchanged() -> None:
    ours = tiny("vqgan", UNEVEN)
    assert_identical(from_diffusers(to_diffusers(ours)), ours)


def test_kandinskys_movq_has_every_tensor_in_its_place() -> None:
    settings: dict[str, Any] = {
        "block_out_channels": (128, 256, 256, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
        "up_block_types": ("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_type": "spatial",
        "num_vq_embeddings": 16384,
        "vq_embed_dim": 4,
    }
    config = adapter.config_from(settings)
    with torch.device("meta"):
        ours, theirs = config.build(), diffusers.VQModel(**settings)
    mapped = {key: tensor.shape for key, tensor in adapter.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}
    back = adapter.config_to(ours)
    assert {key: back[key] for key in settings} == settings


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"in_channels": 1}, "in_channels=1"),
        ({"act_fn": "gelu"}, "act_fn='gelu'"),
        ({"norm_type": "spatial", "norm_num_groups": 8}, "norm_num_groups=8"),
        ({"down_block_types": ("DownEncoderBlock2D", "DownBlock2D")}, "down_block_types"),
    ],
)
def test_what_our_network_cannot_express_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the sentence is checked below)
        from_diffusers(vq(**changes))
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("backbone", "bottleneck", "message"),
    [
        ({}, {"distance": "cosine"}, "Euclidean distance"),
        ({"decoder_norm": "spatial"}, {}, "32 groups, not 4"),
        ({"decoder_norm": "spatial", "norm_groups": 32, "widths": (32, 32)}, {}, "inner_channels equal"),
    ],
)
def test_what_their_class_cannot_express_is_refused(
    backbone: dict[str, Any], bottleneck: dict[str, Any], message: str
) -> None:
    layout = {"widths": (8, 8), "norm_groups": 4, "inner_channels": 6, "latent_channels": 4}
    tree = {
        "backbone": {"kind": "vqgan", "encoder_attention": (), "decoder_attention": (), **layout, **backbone},
        "bottleneck": {"kind": "vq", "codebook_size": 8, **bottleneck},
    }
    ours = TokenizerConfig.parse(tree).build()
    ours.spec = ours.spec.from_convention(1.0)
    with pytest.raises(ValueError, match=message):
        to_diffusers(ours)


def test_folding_is_refused() -> None:
    with pytest.raises(ValueError, match="nearest code depends on the scale"):
        to_diffusers(tiny("vqgan", UNEVEN), latents="folded")
