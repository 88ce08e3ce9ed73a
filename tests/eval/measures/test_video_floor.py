"""The floor for video: its budget, its frames between, and that it is as long as the clip."""

import pytest
import torch

from eval.measures.video_floor import VideoFloorCode, finest_grid, floor_code, floor_frames, sent
from tokenizer.spec import LatentSpec, Timeline


def spec(channels: int, **more: int) -> LatentSpec:
    return LatentSpec.video(channels, 8, Timeline(factor=4), **more)


def clip(count: int, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def made(frames: torch.Tensor, code: VideoFloorCode) -> torch.Tensor:
    return torch.stack(list(floor_frames(list(frames), code)))


def test_three_channels_at_f8_are_the_frame_reduced_8_times() -> None:
    code = floor_code(spec(3), 64, 96)
    assert code == VideoFloorCode(4, (8, 12))
    assert code.values == 3 * 8 * 12


@pytest.mark.parametrize("channels", [1, 4, 16, 48])
def test_it_never_has_more_values_than_the_tokenizer(channels: int) -> None:
    code = floor_code(spec(channels), 64, 48)
    budget = channels * 8 * 6
    assert 0.8 * budget <= code.values <= budget


def test_codes_are_worth_a_byte_for_every_8_bits() -> None:
    code = floor_code(spec(5, codebook_size=2**16), 64, 64)
    assert code.rounded
    assert code.values <= 64 * 16 / 8
    assert "8 bits a value" in str(code)


def test_chunks_and_pictures_have_their_own_budget() -> None:
    chunks = LatentSpec.video(3, 8, Timeline(4, "chunk_causal", 8))
    assert floor_code(chunks, 64, 64) == floor_code(spec(3), 64, 64)
    pictures = floor_code(LatentSpec.image(12, 8), 64, 64)
    assert pictures == VideoFloorCode(1, (16, 16))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 11])
def test_it_is_as_long_as_the_clip(count: int) -> None:
    assert made(clip(count), VideoFloorCode(4, (4, 4))).shape == (count, 3, 16, 16)


def test_what_fades_evenly_comes_back_and_the_end_stands_still() -> None:
    levels = torch.arange(12) * 10
    fading = levels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    found = made(fading, VideoFloorCode(4, (1, 1)))[:, 0, 0, 0].tolist()
    assert found == [0, 10, 20, 30, 40, 50, 60, 70, 80, 80, 80, 80]


def test_a_grid_of_all_pixels_gives_the_frames_that_are_sent_back() -> None:
    frames = clip(5)
    found = made(frames, VideoFloorCode(4, (16, 16)))
    assert torch.equal(found[[0, 4]], frames[[0, 4]])
    means = sent(frames[0], VideoFloorCode(1, (1, 1)))
    assert means[0].unique() == pytest.approx(float(frames[0, 0].double().mean()))


def test_grids() -> None:
    assert finest_grid(3 * 64 * 64, 16, 16) == (16, 16)
    assert finest_grid(2, 16, 16) == (0, 0)
    assert finest_grid(9, 16, 1000) == (1, 3)
    assert made(clip(2), VideoFloorCode(4, (0, 0))).unique().tolist() == [128]
