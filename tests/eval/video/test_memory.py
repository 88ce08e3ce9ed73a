"""Tensors alive are counted exactly, and a stream's peak does not grow with its frames."""

from pathlib import Path

import torch

from eval.video.memory import LiveTensors, stream_memory
from tokenizer.loading import load


def test_what_lives_at_once_is_counted() -> None:
    with LiveTensors() as live:
        a = torch.zeros(1000)
        b = a + 1
        view = b[:10]
        del a
        c = b * 2
        del b
        assert live.now == 8000  # the view keeps b
        del view, c
    assert live.peak == 8000
    assert live.now == 0


def test_a_stream_needs_no_more_for_more_frames(wan_folder: Path) -> None:
    tokenizer = load(wan_folder)
    points = stream_memory(tokenizer, (9, 13, 25), (16, 16), piece_frames=4, device=torch.device("cpu"))
    assert [point.frames for point in points] == [9, 13, 25]
    assert points[0].peak_mib > 0
    assert points[2].peak_mib <= 1.1 * points[1].peak_mib
