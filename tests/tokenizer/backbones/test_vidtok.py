"""Space and time apart: how it begins, and settings that cannot work; the laws of time are in test_clips.py."""

import pytest
import torch

from tokenizer.backbones.vidtok import TimeDownsample, TimeUpsample, VidTokConfig, time_block

SMALL = {"latent_channels": 4, "widths": [4, 8, 8], "blocks_per_level": 1, "time_levels": [1]}


def test_networks_meet_in_the_latent() -> None:
    config = VidTokConfig.parse(SMALL)
    assert (config.spatial_factor, config.time.factor) == (4, 2)
    h = config.build_encoder(4)(torch.randn(1, 3, 5, 8, 12))
    assert h.shape == (1, 4, 3, 2, 3)
    assert config.build_decoder()(h).shape == (1, 3, 5, 8, 12)


def test_blocks_along_time_begin_as_the_identity() -> None:
    x = torch.randn(1, 8, 4, 3, 3)
    assert torch.equal(time_block(8)(x), x)


def test_resampling_mixes_means_or_copies_with_convolutions() -> None:
    """At the end of the mix nothing is left of one of the two."""
    x = torch.randn(1, 2, 5, 2, 2)
    down, up = TimeDownsample(2), TimeUpsample(2)
    for mixed in (down, up):
        torch.nn.init.constant_(mixed.mix, 40.0)
    averaged = down(x)
    torch.testing.assert_close(averaged[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(averaged[:, :, 1], x[:, :, 0:3].mean(dim=2))
    assert torch.equal(up(x)[:, :, 1:3], x[:, :, 1:2].expand(-1, -1, 2, -1, -1))
    torch.nn.init.constant_(down.mix, -40.0)
    torch.testing.assert_close(down(x), down.conv(x))


@pytest.mark.parametrize("levels", [[2], [1, 1]])
def test_impossible_levels_are_refused(levels: list[int]) -> None:
    with pytest.raises(ValueError, match="time_levels names"):
        VidTokConfig.parse(SMALL | {"time_levels": levels})
