"""What every denoiser promises; a new kind joins by one line here."""

import pytest
import torch

from diffusion.backbones import Denoiser, DenoiserConfig

KINDS = [{"kind": "dit", "depth": 1, "width": 16, "heads": 2}]


@pytest.mark.parametrize("tree", KINDS, ids=lambda tree: str(tree["kind"]))
def test_every_kind_answers_to_the_protocol(tree: dict[str, object]) -> None:
    config = DenoiserConfig.parse(tree)
    assert DenoiserConfig.parse(config.model_dump(mode="json")) == config
    denoiser: Denoiser = config.build(latent_shape=(3, 2, 4), num_classes=5)
    assert denoiser.latent_shape == (3, 2, 4)
    assert denoiser.num_classes == 5
    z_t, t = torch.randn(6, 3, 2, 4), torch.linspace(0, 1, 6)
    v = denoiser(z_t, t, torch.arange(6))  # 5 is the null label
    assert v.shape == z_t.shape
    assert v.isfinite().all()
