"""The page of a report: everything in it, nothing from outside."""

from html.parser import HTMLParser

from eval.serving.page import render
from eval.serving.record import Claim
from tests.eval.serving.test_record import part, report


class Reader(HTMLParser):
    """Collects tags, outside addresses, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "!doctype"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_holds_the_numbers_escaped_and_fetches_nothing() -> None:
    claims = [Claim(says="fast <b>", measured="9 ms", holds=holds) for holds in (True, False, None)]
    reader = Reader()
    reader.feed(render(report(part(claims=claims), part(part="soak", commit=None))))
    assert reader.open == []
    assert reader.addresses == []
    for text in (
        "A | B",
        "x|y",
        "1.23",
        "fast <b>",
        "NO",
        "not measured",
        "Why.",
        "nothing is pinned",
        "no commit",
    ):
        assert text in reader.text
