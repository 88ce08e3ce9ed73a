"""Deep compression for video: published sizes, settings that cannot work; the laws of time are in test_clips.py."""

import pytest
import torch

from tokenizer.backbones.dcae_video import DCAEVideoConfig

SMALL = {
    "latent_channels": 4,
    "widths": [8, 8, 16],
    "encoder_depths": [1, 1, 1],
    "decoder_depths": [0, 1, 1],
    "factors": [[1, 2], [2, 2]],
    "chunk_frames": 4,
}


def test_factors_and_time() -> None:
    config = DCAEVideoConfig()
    assert (config.spatial_factor, config.time.factor, config.time.chunk_frames) == (32, 4, 40)
    assert (config.time.kind, config.time.first_frame_alone) == ("chunk_causal", False)


def test_networks_meet_in_the_latent_with_and_without_a_first_stage() -> None:
    config = DCAEVideoConfig.parse(SMALL)
    h = config.build_encoder(4)(torch.randn(1, 3, 4, 8, 8))
    assert h.shape == (1, 4, 2, 2, 2)
    assert config.build_decoder()(h).shape == (1, 3, 4, 8, 8)


def test_frames_of_a_chunk_see_one_another_both_ways() -> None:
    encoder = DCAEVideoConfig.parse(SMALL).build_encoder(4)
    x = torch.randn(1, 3, 4, 8, 8)
    other = x.clone()
    other[:, :, 3] += 1.0
    assert not torch.equal(encoder(x)[:, :, 0], encoder(other)[:, :, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": [[1, 2]]}, "factors must have 2"),
        ({"widths": [8, 9, 16]}, "from width 8 to 9"),
        ({"chunk_frames": 3}, "multiple of the factor 2"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DCAEVideoConfig.parse(SMALL | change)
