"""The spec read from a config.json is the one of the network that the folder becomes; no torch is needed for it."""

import subprocess
import sys
from typing import Any

import pytest

from tests.tokenizer.adapters.diffusers.parity import DC, KL, TINY, VQ, dc, kl, taesd, vq
from tokenizer.adapters.diffusers import diffusers_config
from tokenizer.config import image_spec
from tokenizer.diffusers_spec import NAMES, spec_of

CASES = [(make, case) for make, cases in ((dc, DC), (kl, KL), (taesd, TINY), (vq, VQ)) for case in cases]
CHANGES: dict[Any, dict[str, dict[str, Any]]] = {dc: DC, kl: KL, taesd: TINY, vq: VQ}


@pytest.mark.parametrize(("make", "case"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_it_is_the_latent_of_the_network(make: Any, case: str) -> None:
    theirs = make(**CHANGES[make][case])
    config = dict(theirs.config) | {"_class_name": type(theirs).__name__}
    ours, _ = diffusers_config(config)
    network = ours.build()
    expected = image_spec(
        ours.backbone.latent_channels, ours.backbone.spatial_factor, network.bottleneck.codes
    )
    assert spec_of(config).with_statistics(None) == expected


@pytest.mark.parametrize(
    ("config", "channels", "factor", "deviation"),
    [
        ({"_class_name": "AutoencoderDC"}, 32, 32, 1.0),
        ({"_class_name": "AutoencoderDC", "scaling_factor": 0.25}, 32, 32, 4.0),
        ({"_class_name": "AutoencoderKL", "block_out_channels": [1, 1, 1, 1]}, 4, 8, 5.48998),
        ({"_class_name": "AutoencoderTiny"}, 4, 8, 1.0),
        ({"_class_name": "VQModel", "block_out_channels": [1, 1]}, 3, 2, 5.48998),
    ],
)
def test_what_is_left_out_is_their_default(
    config: dict[str, Any], channels: int, factor: int, deviation: float
) -> None:
    part = spec_of(config).z
    assert (part.channels, part.spatial_factor) == (channels, factor)
    assert part.std is not None
    assert part.std == pytest.approx([deviation] * channels, rel=1e-5)


def test_a_mean_a_channel_needs_its_deviations() -> None:
    config = {"_class_name": "AutoencoderKL", "latents_mean": [0.0] * 4}
    with pytest.raises(ValueError, match="come together"):
        spec_of(config)
    part = spec_of(config | {"latents_std": [2.0, 4.0, 1.0, 1.0], "scaling_factor": 0.5}).z
    assert part.std == (4.0, 8.0, 2.0, 2.0)


def test_another_class_lists_those_known() -> None:
    with pytest.raises(ValueError, match=", ".join(NAMES)):
        spec_of({"_class_name": "AutoencoderOobleck"})


def test_it_imports_no_torch() -> None:
    code = "import sys, tokenizer.diffusers_spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
