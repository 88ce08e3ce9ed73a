"""The page holds its films and pictures, shows everything and fetches nothing."""

import base64
import io
import re
from fractions import Fraction

import numpy as np
import pytest

from eval.video.memory import MemoryPoint
from eval.video.page import Film, plot, render
from tests.eval.video.clipping import frames
from tests.eval.video.reports import make
from tokenizer.data.video_file import read_frames

FILM = Film("a <clip>", frames(7, side=32), frames(7, seed=1, side=32), Fraction(24))


def test_a_film_is_an_mp4_of_both_sides() -> None:
    read = [frame for _, frame in read_frames(io.BytesIO(FILM.mp4()))]
    assert len(read) == 7
    assert read[0].shape == (32, 64, 3)
    left = np.abs(read[0][:, :32].astype(float) - FILM.real[0].permute(1, 2, 0).numpy()).mean()
    crossed = np.abs(read[0][:, :32].astype(float) - FILM.fake[0].permute(1, 2, 0).numpy()).mean()
    assert left < crossed


def test_a_strip_has_three_rows_and_stays_narrow() -> None:
    assert FILM.strip().shape == (3, 96, 6 * 32)
    wide = Film("", frames(2, side=800), frames(2, side=800), Fraction(24))
    assert wide.strip().shape == (3, 1200, 800)
    alone = Film("", frames(1), frames(1), Fraction(24))
    assert alone.strip().shape == (3, 48, 16)


def test_the_page_shows_all_and_fetches_nothing() -> None:
    page = render(make(), "Reconstruction of <video>", {"Worst by PSNR": [FILM]})
    for shown in (
        "Worst by PSNR",
        "a &lt;clip&gt;",
        "a &lt;file&gt;",
        "21.5000",
        "c.mp4: no",
        "<svg",
        "64 pixels",
    ):
        assert shown in page
    assert "media-src data:" in page
    assert "<clip>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    (film,) = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert base64.b64decode(film) == FILM.mp4()


def test_the_plot_begins_at_zero_and_names_its_points() -> None:
    drawn = plot([MemoryPoint(frames=257, peak_mib=20.0), MemoryPoint(frames=33, peak_mib=10.0)])
    heights = [float(y) for y in re.findall(r'cy="([0-9.]+)"', drawn)]
    foot = 280 - 46
    assert foot - heights[1] == pytest.approx(2 * (foot - heights[0]), abs=0.2)
    assert "257 frames: 20.0 MiB" in drawn
