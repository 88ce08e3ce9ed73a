"""The page shows every row and its pictures, and needs nothing from outside."""

import base64
import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval.compare.page import picture_key, read_strip, render, strip, unstrip
from eval.compare.record import Comparison, PromiseRow
from eval.compare.settings import PromiseConfig
from eval.page import png

PICTURES = torch.randint(
    0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


class Elements(HTMLParser):
    """Every tag, and everything that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data"}]


def page(made: Comparison) -> str:
    shown = {picture_key(row): PICTURES for row in made.rows() if row.bits is not None}
    return render(made, PICTURES, shown)


def test_strips_come_apart_again(tmp_path: Path) -> None:
    assert strip(PICTURES).shape == (3, 16, 3 * 16 + 2 * 4)
    assert torch.equal(unstrip(strip(PICTURES)), PICTURES)
    assert torch.equal(unstrip(strip(PICTURES[:1])), PICTURES[:1])
    (tmp_path / "strip.png").write_bytes(png(strip(PICTURES)))
    assert torch.equal(read_strip(tmp_path / "strip.png"), PICTURES)


def test_nothing_is_fetched_and_nothing_runs(comparison: Callable[..., Comparison]) -> None:
    text = page(comparison())
    elements = Elements(text)
    assert len(elements.fetched) == 1 + 2 + 1  # the originals, two members, the floor
    assert all(source.startswith("data:image/png;base64,") for source in elements.fetched)
    assert not elements.tags & {"script", "link", "iframe", "object", "image", "use"}
    assert "svg" in elements.tags
    for address in ("https://", "url(", "@import"):
        assert address not in text
    with Image.open(io.BytesIO(base64.b64decode(elements.fetched[0].partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image), strip(PICTURES).permute(1, 2, 0).numpy())


def test_rows_reasons_and_promises_are_shown(comparison: Callable[..., Comparison]) -> None:
    promise = PromiseConfig(member="codes", against="plain", improves="codebook_use", because="codes revive")
    text = page(comparison(promises=(PromiseRow(promise=promise, value=0.5),)))
    for shown in (
        "28.50",
        "5x5 cells",
        "codes revive",
        "not measured",
        "24.00 dB, 0.6250 bits/pixel",
        "too large",
    ):
        assert shown in text
    assert "<b>" not in text.replace("<body>", "")
    assert "&lt;broken&gt;" in text
