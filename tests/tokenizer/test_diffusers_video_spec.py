"""The spec of a video folder of diffusers is that of its network, and two tensors are found without reading others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tokenizer.adapters.diffusers.video.theirs import cogvideox, ltx, vidtok, wan
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.diffusers_video_spec import VIDEO_SPECS, Statistics, statistics_in

MAKERS: dict[str, Any] = {
    "AutoencoderKLCogVideoX": cogvideox,
    "AutoencoderKLLTXVideo": ltx,
    "AutoencoderKLWan": wan,
    "AutoencoderVidTok": vidtok,
}
KINDS = {
    "AutoencoderKLCogVideoX": ("chunk_causal", 8, 4, 8),
    "AutoencoderKLLTXVideo": ("global", None, 2, 4),
    "AutoencoderKLWan": ("causal", None, 4, 4),
    "AutoencoderVidTok": ("global", None, 4, 4),
}


def test_every_class_has_a_kind() -> None:
    assert VIDEO_SPECS.keys() == MAKERS.keys() == KINDS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_the_spec_tells_the_latent_and_how_time_is_seen(name: str) -> None:
    ours = from_diffusers(MAKERS[name]())
    spec = ours.spec
    assert (spec.time, spec.chunk_frames, spec.z.temporal_factor, spec.z.spatial_factor) == KINDS[name]
    assert spec.first_frame_alone
    frames = 1 + 2 * spec.z.temporal_factor
    x = torch.zeros(1, 3, frames, 16, 16)
    assert tuple(ours.encode(x).z.shape[1:]) == spec.shape((frames, 16, 16))["z"]


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("AutoencoderKLWan", {"in_channels": 4}, "in_channels=4"),
        ("AutoencoderKLWan", {"latents_std": None}, "lacks latents_mean or latents_std"),
        ("AutoencoderKLCogVideoX", {"temporal_compression_ratio": 8}, "temporal_compression_ratio=8"),
        ("AutoencoderKLCogVideoX", {"use_quant_conv": True}, "use_quant_conv=True"),
        ("AutoencoderKLLTXVideo", {"patch_size_t": 2}, "patch_size_t=2"),
        ("AutoencoderVidTok", {"out_channels": 1}, "out_channels=1"),
    ],
)
def test_what_is_not_supported_is_named(name: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        VIDEO_SPECS[name]({"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16, **changes}, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_two_tensors_are_read_out_of_a_file(dtype: torch.dtype, tmp_path: Path) -> None:
    mean, std = torch.tensor([0.1, -3.0]).to(dtype), torch.tensor([0.7, 2.0]).to(dtype)
    save_file({"a": torch.zeros(7), "latents_mean": mean, "latents_std": std}, tmp_path / "w.safetensors")
    found = statistics_in(tmp_path / "w.safetensors")
    assert found == Statistics(mean.float().tolist(), std.float().tolist())


def test_files_without_them_and_damaged_ones(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(7)}, file)
    assert statistics_in(file) is None
    for content in (b"", b"\xff" * 40, b"\x04" + b"\0" * 7 + b"null"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            statistics_in(file)
    save_file({"latents_mean": torch.zeros(2).double(), "latents_std": torch.ones(2).double()}, file)
    with pytest.raises(ValueError, match="of type F64"):
        statistics_in(file)
