"""Causal 3D convolutions as a backbone; the laws of time are in test_clips.py."""

import pytest
import torch

from tokenizer.backbones.causal3d import Causal3DConfig


def test_factors_follow_the_levels() -> None:
    config = Causal3DConfig(widths=(32, 32, 32, 32, 32), time_levels=(0, 1, 2))
    assert (config.spatial_factor, config.time.factor, config.time.kind) == (16, 8, "causal")
    assert Causal3DConfig().time.first_frame_alone


def test_networks_meet_in_the_latent() -> None:
    config = Causal3DConfig(
        latent_channels=4, widths=(8, 8), blocks_per_level=1, norm_groups=4, time_levels=(0,), quant_conv=True
    )
    h = config.build_encoder(8)(torch.randn(1, 3, 3, 8, 8))
    assert h.shape == (1, 8, 2, 4, 4)
    assert config.build_decoder()(h[:, :4]).shape == (1, 3, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": [30]}, "multiple of norm_groups"),
        ({"time_levels": [3]}, "0 to 2"),
        ({"time_levels": [1, 1]}, "twice"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Causal3DConfig.parse(change)
