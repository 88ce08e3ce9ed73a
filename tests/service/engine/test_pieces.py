"""Frames are read ahead and written behind in order, and cut and joined without losing one."""

import threading
from collections import deque
from fractions import Fraction

import numpy as np
import pytest

from service.engine.pieces import Behind, ahead, rising, taken
from tokenizer.data.video_file import Frames
from tokenizer.data.video_writer import TICKS


def test_reading_ahead_and_writing_behind() -> None:
    assert list(ahead(iter(range(20)))) == list(range(20))

    def broken() -> object:
        yield 1
        raise ValueError("half way")

    walk = ahead(broken())  # type: ignore[arg-type]
    assert next(walk) == 1
    with pytest.raises(ValueError, match="half way"):
        next(walk)
    before = threading.active_count()
    reading = ahead(iter(range(9)))
    next(reading)
    reading.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before
    done: list[int] = []
    with Behind() as behind:
        for number in range(5):
            behind.run(lambda number=number: done.append(number))  # type: ignore[misc]
        behind.wait()
        assert done == [0, 1, 2, 3, 4]
        behind.run(lambda: done.index(9))  # type: ignore[arg-type,return-value]
        with pytest.raises(ValueError, match="9"):
            behind.wait()


def test_pieces_are_cut_where_the_others_end() -> None:
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((10, 2, 2, 3), np.uint8)
    times = tuple(Fraction(number) for number in range(10))
    sent = deque(
        [Frames(pixels[:4], times[:4]), Frames(pixels[4:6], times[4:6]), Frames(pixels[6:], times[6:])]
    )
    seen = [taken(sent, count) for count in (1, 5, 4)]
    assert [len(frames) for frames, _ in seen] == [1, 5, 4]
    assert np.array_equal(np.concatenate([frames for frames, _ in seen]), pixels)
    assert sum((moments for _, moments in seen), ()) == times
    assert not sent


def test_times_rise() -> None:
    tick = Fraction(1, TICKS)
    assert rising((Fraction(0), Fraction(1), Fraction(1), Fraction(1, 2)), None) == (
        0,
        1,
        1 + tick,
        1 + 2 * tick,
    )
    assert rising((Fraction(1), Fraction(3)), Fraction(2)) == (2 + tick, 3)
