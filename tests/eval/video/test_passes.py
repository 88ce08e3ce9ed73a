"""A clip through a tokenizer in pieces is the clip through it whole; pairs and the codec keep their frames."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from eval.pixels import from_uint8
from eval.video.passes import ClipPass, ClipTimes, Pairs, in_pieces, through_h264
from tests.eval.video.clipping import disturbed, frames
from tokenizer.loading import load

CPU = torch.device("cpu")


@pytest.mark.parametrize("length", [20, 7, 3])
def test_pieces_are_the_whole(wan_folder: Path, length: int) -> None:
    tokenizer = load(wan_folder)
    clip = frames(14)
    with torch.inference_mode():
        expected = tokenizer.decode(tokenizer.encode(from_uint8(clip).transpose(0, 1).unsqueeze(0)))
    times = ClipTimes()
    walk = ClipPass(tokenizer, CPU, times=times)
    x_hat = torch.cat(list(in_pieces(clip, length, walk.push)))
    assert x_hat.shape == (14, 3, 16, 16)
    assert torch.allclose(x_hat, expected[0].transpose(0, 1), atol=1e-5)
    assert times.frames == 14
    assert min(times.encode_s, times.decode_s) > 0
    assert (times - ClipTimes(4, 0.0, 0.0)).frames == 10


def test_a_tokenizer_of_pictures_takes_frame_by_frame(tokenizer_folder: Path) -> None:
    tokenizer = load(tokenizer_folder)
    clip = frames(5)
    with torch.inference_mode():
        expected = tokenizer.decode(tokenizer.encode(from_uint8(clip)))
    walk = ClipPass(tokenizer, CPU)
    assert torch.allclose(torch.cat(list(in_pieces(clip, 2, walk.push))), expected, atol=1e-5)


def test_originals_wait_for_their_reconstructions() -> None:
    real, fake = frames(6), frames(6, seed=1)
    pairs = Pairs()
    assert pairs.match(real[:2], fake[:0]) is None
    first = pairs.match(real[2:4], fake[:3])
    second = pairs.match(real[4:], fake[3:])
    assert first is not None
    assert second is not None
    assert torch.equal(torch.cat([first[0], second[0]]), real)
    assert torch.equal(torch.cat([first[1], second[1]]), fake)


def test_the_codec_keeps_size_and_number_and_loses_something() -> None:
    ramp = torch.arange(40, dtype=torch.uint8).view(1, 1, 1, -1).expand(3, 3, 33, 40) * 4
    clip = disturbed(ramp.contiguous(), torch.full((3,), 5.0))
    made = through_h264(clip, Fraction(30))
    assert made.shape == clip.shape
    change = (made.float() - clip.float()).abs().mean()
    assert 0 < change < 12
