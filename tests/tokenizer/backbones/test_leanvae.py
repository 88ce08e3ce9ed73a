"""LeanVAE: patches that come back, a measurement that is recovered; the laws of time are in test_clips.py."""

import torch

from tokenizer.backbones.leanvae import LeanVAEConfig, Patches, Pixels, Recovery


def test_patches_come_back_with_and_without_the_first_frame() -> None:
    x = torch.randn(2, 3, 9, 16, 24)
    still, moving = Patches()(x)
    assert still is not None
    assert moving is not None
    assert still.shape == (2, 12 * 16, 1, 2, 3)
    assert moving.shape == (2, 24 * 32, 2, 2, 3)
    torch.testing.assert_close(Pixels()(still, moving), x)
    torch.testing.assert_close(Pixels()(still, None), x[:, :, :1])
    torch.testing.assert_close(Pixels()(None, moving), x[:, :, 1:])


def test_the_lowest_band_stands_first() -> None:
    still, moving = Patches()(torch.full((1, 3, 5, 8, 8), 0.5))
    assert still is not None
    assert moving is not None
    assert (still[:, : 3 * 16] != 0).all()
    assert not still[:, 3 * 16 :].any()
    assert not moving[:, 3 * 32 :].any()


def test_recovery_explains_the_measurement_better_step_by_step() -> None:
    """With matrices that belong together and no shrinking, the iterations solve y = P x."""
    torch.manual_seed(0)
    y = torch.randn(1, 4, 1, 2, 2)
    errors = []
    for steps in (1, 4, 16):
        recovery = Recovery(4, 8, steps).requires_grad_(False)
        rows = torch.linalg.qr(torch.randn(8, 4, generator=torch.Generator().manual_seed(1))).Q.T
        recovery.measure.weight.copy_(rows.view(4, 8, 1, 1, 1))
        recovery.lift.weight.copy_(0.5 * rows.T.reshape(8, 4, 1, 1, 1))
        for back in recovery.back:
            for parameter in back.parameters():
                parameter.zero_()
        errors.append(float((recovery.measure(recovery(y)) - y).abs().max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_networks_meet_in_the_latent() -> None:
    config = LeanVAEConfig(low=4, high=8, band_depth=1, depth=1)
    assert (config.spatial_factor, config.time.factor) == (8, 4)
    h = config.build_encoder(4)(torch.randn(1, 3, 5, 16, 24))
    assert h.shape == (1, 4, 2, 2, 3)
    assert config.build_decoder()(h).shape == (1, 3, 5, 16, 24)
