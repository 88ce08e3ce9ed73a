"""Streams: what waits, what comes out when, and how they end; the laws are in test_clips.py."""

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.streaming import decode_stream, encode_stream


@pytest.fixture
def model() -> Autoencoder:
    """A causal t4f2 of a few parameters."""
    backbone = {
        "kind": "causal3d",
        "latent_channels": 2,
        "widths": [4, 4, 4],
        "blocks_per_level": 1,
        "norm_groups": 2,
        "time_levels": [0, 1],
    }
    torch.manual_seed(0)
    built = TokenizerConfig.parse({"backbone": backbone}).build().eval().requires_grad_(False)
    built.spec = built.spec.with_statistics({"z": ([0.0] * 2, [1.0] * 2)})
    return built


def test_latents_come_as_soon_as_their_frames_are_there(model: Autoencoder) -> None:
    x = torch.rand(1, 3, 11, 8, 8)
    sizes = [latent.size[0] for latent in encode_stream(model, x.split([2, 4, 2, 3], dim=2))]
    assert sizes == [
        1,
        4,
        6,
    ]  # the last two frames of eleven are a padded group of their own, with the four before
    frames = [piece.shape[2] for piece in decode_stream(model, encode_stream(model, x.split(3, dim=2)))]
    assert sum(frames) == 11


def test_pieces_are_read_one_ahead(model: Autoencoder) -> None:
    taken = []

    def pieces():  # type: ignore[no-untyped-def]  # a generator for this test
        for number in range(6):
            taken.append(number)
            yield torch.rand(1, 3, 4, 8, 8)

    stream = encode_stream(model, pieces())
    next(stream)
    assert taken == [0, 1]


def test_empty_streams_are_refused(model: Autoencoder) -> None:
    with pytest.raises(ValueError, match="no frames"):
        next(encode_stream(model, []))
    with pytest.raises(ValueError, match="no latents"):
        next(decode_stream(model, []))
