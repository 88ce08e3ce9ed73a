"""Encoder and decoder of DC-AE: any width and depth, batch norms only where they were asked for."""

import torch

from tokenizer.backbones.dcae.network import Decoder, Encoder


def test_a_stem_takes_the_place_of_an_empty_first_stage() -> None:
    common = {"widths": (8, 8, 16), "blocks": ("res",) * 3, "head_dim": 8, "kernels": ()}
    x = torch.zeros(1, 3, 8, 12)
    for depths in ((0, 1, 1), (1, 1, 1)):
        encoder = Encoder(
            out_channels=4, depths=depths, downsampling="unshuffle", out_shortcut=True, **common
        )
        decoder = Decoder(
            latent_channels=4,
            depths=depths,
            norms=("rms", "batch", "rms"),
            activations=("silu",) * 3,
            upsampling="shuffle",
            in_shortcut=True,
            out_activation="relu",
            **common,
        )
        assert len(encoder.stages[0]) == (0 if depths[0] == 0 else 2)
        h = encoder(x)
        assert tuple(h.shape) == (1, 4, 2, 3)
        assert decoder(h).shape == x.shape
        norms = [name for name, m in decoder.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms == ["stages.1.1.norm"]
