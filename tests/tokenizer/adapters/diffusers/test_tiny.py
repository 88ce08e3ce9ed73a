"""AutoencoderTiny and ours: the same weights give the same latents and pictures, in both directions."""

from typing import Any

import diffusers
import pytest
import torch

from tests.tokenizer.adapters.diffusers.parity import (
    TINY,
    UNEVEN,
    assert_identical,
    assert_same,
    picture,
    taesd,
    tiny,
)
from tokenizer.adapters.diffusers import from_diffusers, to_diffusers
from tokenizer.adapters.diffusers import tiny as adapter
from tokenizer.config import TokenizerConfig
from tokenizer.export import export


@pytest.mark.parametrize("case", TINY)
def test_tiny_equals_diffusers_and_comes_back(case: str) -> None:
    theirs = taesd(**TINY[case])
    ours = from_diffusers(theirs)
    assert_same(ours, theirs, picture())
    back = to_diffusers(ours)
    assert_identical(back, theirs)
    for key in ("scaling_factor", "shift_factor", "num_encoder_blocks", "decoder_block_out_channels"):
        assert back.config[key] == theirs.config[key]


def test_published_sizes_have_every_tensor_in_its_place() -> None:
    config = adapter.config_from({})
    with torch.device("meta"):
        ours, theirs = config.build(), diffusers.AutoencoderTiny()
    mapped = {key: tensor.shape for key, tensor in adapter.tensors_from(theirs.state_dict()).items()}
    assert mapped == {key: tensor.shape for key, tensor in ours.state_dict().items()}
    assert config == TokenizerConfig.parse({"backbone": {"kind": "taesd"}})


def test_an_export_is_written_and_checked(tmp_path: Any) -> None:
    exported = export(tiny("taesd", ([0.25] * 4, [2.0] * 4)), tmp_path / "out")
    assert exported.name == "AutoencoderTiny"
    assert exported.exact
    assert (exported.shift, exported.scale) == (0.25, 0.5)
    assert exported.difference <= 1e-5


def test_folding_is_refused() -> None:
    with pytest.raises(ValueError, match="squeezes raw latents with tanh"):
        to_diffusers(tiny("taesd", UNEVEN), latents="folded")


def test_another_bottleneck_is_refused() -> None:
    tree = {
        "backbone": {"kind": "taesd", "encoder_width": 8, "decoder_width": 8},
        "bottleneck": {"kind": "kl"},
    }
    ours = TokenizerConfig.parse(tree).build()
    ours.spec = ours.spec.from_convention(1.0)
    with pytest.raises(ValueError, match="only a tokenizer with bottleneck identity"):
        to_diffusers(ours)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"in_channels": 1}, "in_channels=1"),
        ({"out_channels": 4}, "out_channels=4"),
        ({"act_fn": "gelu"}, "act_fn='gelu'"),
        ({"upsample_fn": "bilinear"}, "upsample_fn='bilinear'"),
        ({"upsampling_scaling_factor": 3}, "upsampling_scaling_factor=3"),
        ({"encoder_block_out_channels": (8, 8, 16)}, "encoder_block_out_channels=(8, 8, 16)"),
    ],
)
def test_what_our_network_cannot_express_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the sentence is checked below)
        from_diffusers(taesd(**changes))
    assert named in str(refusal.value)
