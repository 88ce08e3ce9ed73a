"""AutoencoderDC and our DC-AE: the same weights give the same latents and pictures, in both directions."""

from typing import Any

import pytest
import torch

from tests.tokenizer.adapters.diffusers.parity import (
    DC,
    UNEVEN,
    assert_close,
    assert_identical,
    assert_same,
    dc,
    picture,
    their_latent,
    their_picture,
    tiny,
)
from tokenizer.adapters.diffusers import from_diffusers, to_diffusers
from tokenizer.backbones.dcae.blocks import LinearAttention
from tokenizer.spec import Latent


@pytest.mark.parametrize("size", [(32, 48), (8, 8)], ids=["linear attention", "quadratic attention"])
@pytest.mark.parametrize("case", DC)
def test_dc_equals_diffusers_and_comes_back(case: str, size: tuple[int, int]) -> None:
    theirs = dc(**DC[case])
    ours = from_diffusers(theirs)
    assert_same(ours, theirs, picture(*size))

    back = to_diffusers(ours)
    assert back.config.scaling_factor == theirs.config.scaling_factor
    assert_identical(back, theirs)


def test_reading_q_k_v_by_their_names_is_wrong() -> None:
    """The trap: to_q is a third of the fused channels, in which the heads interleave q, k and v."""
    theirs = dc(**DC["stem downsamples"])
    ours = from_diffusers(theirs)
    x = picture()
    right = their_latent(theirs, x)
    assert_close(ours.encode(x).z, right)
    for module in ours.encoder.modules():
        if isinstance(module, LinearAttention):
            blocks = module.qkv.weight.chunk(3)  # read as all queries, all keys, all values
            heads = [block.split(module.head_dim) for block in blocks]
            per_head = [torch.cat(parts) for parts in zip(*heads, strict=True)]
            module.qkv.weight.data = torch.cat(per_head)
    wrong = ours.encode(x).z
    assert (wrong - right).abs().max() > 0.01 * (right.max() - right.min())


def test_folded_dc_latents_are_ours_normalised_where_the_means_are_zero() -> None:
    for shortcut in (True, False):
        ours = from_diffusers(dc(**DC["stem downsamples" if shortcut else "no latent shortcuts"]))
        ours.spec = ours.spec.from_convention([0.25 + 0.5 * channel for channel in range(16)])
        theirs = to_diffusers(ours, latents="folded")
        assert theirs.config.scaling_factor == 1.0
        assert_same(ours, theirs, picture())


def test_folding_a_mean_into_dc_is_refused() -> None:
    with pytest.raises(ValueError, match="mean per channel cannot be folded.*latents=scaled"):
        to_diffusers(tiny("dcae", UNEVEN), latents="folded")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"in_channels": 1}, "in_channels=1"),
        ({"downsample_block_type": "max_pool"}, "downsample_block_type='max_pool'"),
        ({"upsample_block_type": "bilinear"}, "upsample_block_type='bilinear'"),
        ({"encoder_qkv_multiscales": ((), (), (5,))}, "decoder_qkv_multiscales"),
        ({"decoder_norm_types": "batch_norm"}, "decoder_norm_types 'rms_norm'"),
        ({"decoder_norm_types": "layer_norm"}, "decoder_norm_types='layer_norm'"),
        ({"decoder_act_fns": "gelu"}, "decoder_act_fns='gelu'"),
        ({"decoder_block_out_channels": (4, 16, 32)}, "decoder_block_out_channels"),
    ],
)
def test_what_our_dc_network_cannot_express_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the sentence is checked below)
        from_diffusers(dc(**DC["stem keeps size"] | changes))
    assert named in str(refusal.value)


def test_a_stem_on_one_side_only_survives_the_round_trip() -> None:
    """Lite: the decoder's empty first stage has the width that the encoder's has."""
    ours = from_diffusers(dc(**DC["Lite"]))
    again = from_diffusers(to_diffusers(ours))
    assert_close(again.encode(picture()).z, ours.encode(picture()).z)


def test_export_latent_decodes_from_a_foreign_generator() -> None:
    """A latent from outside (no spec_id) goes through either side alike."""
    theirs = dc(**DC["stem keeps size"])
    ours = from_diffusers(theirs)
    z = torch.randn(1, 16, 5, 7, generator=torch.Generator().manual_seed(1))
    assert_close(ours.decode(Latent({"z": z}, (20, 28))), their_picture(theirs, z))
