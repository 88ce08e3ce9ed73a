"""Every combination of parts builds, or says why not."""

import pytest
import torch

from tokenizer.config import TokenizerConfig


@pytest.mark.parametrize("bottleneck", ["identity", "kl"])
@pytest.mark.parametrize("backbone", ["dcae", "kl"])
def test_parts_combine(backbone: str, bottleneck: str) -> None:
    parts = {"kind": backbone, "latent_channels": 8}
    config = TokenizerConfig.parse({"backbone": parts, "bottleneck": {"kind": bottleneck}})
    with torch.device("meta"):
        model = config.build()
        step = model(torch.empty(1, 3, 64, 64))
    assert step.x_hat.shape == (1, 3, 64, 64)
    assert step.z.shape[1] == model.spec.z.channels == 8
    assert model.spec.z.spatial_factor == config.backbone.spatial_factor
    assert not model.spec.has_statistics


def test_unknown_kinds_name_the_choices() -> None:
    with pytest.raises(ValueError, match="backbone: .*'dcae', .*'kl'"):
        TokenizerConfig.parse({"backbone": {"kind": "unet"}})
    with pytest.raises(ValueError, match=r"backbone.*widhts: unknown key; it can be one of .*widths"):
        TokenizerConfig.parse({"backbone": {"kind": "dcae", "widhts": [1]}})
