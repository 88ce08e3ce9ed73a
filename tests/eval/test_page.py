"""The page needs nothing from outside and shows what it was given."""

import base64
import io
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import torch
from PIL import Image

from eval.page import Figure, Section, difference, png, render
from eval.report import Computed, NotComputed, Report

PICTURE = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Elements(HTMLParser):
    """Collects every tag, and everything that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]


def page(make_report: Callable[..., Report], caption: str = "a.png") -> str:
    report = make_report(
        psnr=Computed(value=25.0, ci95=(24.0, 26.0), num_images=7, higher_is_better=True),
        rfid=NotComputed(not_computed="a file <b>", put="there"),
    )
    return render(report, "Title", [Section("Worst", [Figure([("original", PICTURE)], caption)])])


def test_nothing_is_fetched_and_nothing_runs(make_report: Callable[..., Report]) -> None:
    text = page(make_report)
    elements = Elements(text)
    assert elements.fetched
    assert all(source.startswith("data:image/png;base64,") for source in elements.fetched)
    assert not elements.tags & {"script", "link", "iframe", "object"}
    for address in ("http://", "https://", "url(", "@import"):
        assert address not in text
    assert "default-src 'none'" in text


def test_the_picture_inside_is_the_picture(make_report: Callable[..., Report]) -> None:
    (source,) = Elements(page(make_report)).fetched
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), PICTURE.permute(1, 2, 0).numpy())


def test_numbers_protocol_and_gaps_are_shown(make_report: Callable[..., Report]) -> None:
    text = page(make_report)
    for shown in ("25.0000", "24.0000 to 26.0000", "canon-v1", "ssim.sigma"):
        assert shown in text
    assert make_report().protocol.hash in text
    assert "not computed: needs a file &lt;b&gt;. Put it there." in text


def test_names_of_files_cannot_write_html(make_report: Callable[..., Report]) -> None:
    text = page(make_report, caption='<img src=x onerror="run()">')
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_two_pictures_of_a_wiped_figure_lie_in_one_place(make_report: Callable[..., Report]) -> None:
    figure = Figure([("original", PICTURE), ("made", PICTURE), ("error", PICTURE)], "a.png", wiped=True)
    text = render(make_report(), "Title", [Section("Worst", [figure])])
    assert text.count('class="wipe"') == 1
    assert text.index('alt="original"') < text.index('class="over"') < text.index('alt="made"')
    assert text.index("<b></b></span>") < text.index('alt="error"')
    assert len(Elements(text).fetched) == 3


def test_the_card_says_what_must_be_the_same(make_report: Callable[..., Report]) -> None:
    text = page(make_report)
    card = text[text.index('<div class="card">') : text.index("<table>")]
    protocol = make_report().protocol
    for shown in (
        "canon-v1",
        protocol.hash,
        protocol.preprocess_hash,
        "32 x 32",
        "adm",
        "mode",
        "round_uint8",
    ):
        assert shown in card


def test_difference_is_amplified_about_grey() -> None:
    real = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    assert difference(real, real).unique().tolist() == [128]
    assert difference(real, real + 10).unique().tolist() == [168]
    assert difference(real, real - 100, gain=4.0).unique().tolist() == [0]


def test_png_is_lossless() -> None:
    with Image.open(io.BytesIO(png(PICTURE))) as image:
        assert np.array_equal(np.asarray(image), PICTURE.permute(1, 2, 0).numpy())
