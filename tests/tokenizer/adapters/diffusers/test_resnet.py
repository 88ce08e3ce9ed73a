"""The parts that AutoencoderKL and VQModel share: attention fused and split, block types read in both directions."""

import pytest
import torch

from tests.tokenizer.adapters.diffusers.parity import KL, kl
from tokenizer.adapters.diffusers import kl as adapter
from tokenizer.adapters.diffusers import resnet


def test_splitting_undoes_fusing() -> None:
    theirs = kl(**KL["attention at levels"]).state_dict()
    fused = resnet.fuse_attention(theirs)
    assert sum(key.endswith(".qkv.weight") for key in fused) == 2 * 2 + 3 + 2
    assert all(tensor.ndim == 4 for key, tensor in fused.items() if key.endswith(".qkv.weight"))
    back = resnet.split_attention(fused)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("case", KL)
def test_a_layout_is_read_as_it_was_written(case: str) -> None:
    settings = dict(kl(**KL[case]).config)
    with torch.device("meta"):
        ours = adapter.config_from(settings).build()
    written = resnet.layout_to(ours.encoder, ours.decoder)
    assert {key: settings[key] for key in written} == written


def test_a_list_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="down_block_types"):
        resnet.layout_from(
            "VQModel", {"block_out_channels": (8, 16), "down_block_types": ["DownEncoderBlock2D"]}
        )
