"""What can be said of the page without a browser: it is whole, labelled, self-contained and readable."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[3] / "service" / "web"
FILES = sorted(path for path in WEB.iterdir() if path.suffix in {".html", ".css", ".js", ".svg"})
MODULES = [path for path in FILES if path.suffix == ".js"]
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """The page's elements, and that every tag closes the one it should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {[self.elements[index][0] for index in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), [self.elements[index][0] for index in self._open]))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        index = self._open.pop()
        assert self.elements[index][0] == tag, f"line {self.getpos()[0]}: </{tag}>"

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.texts[index] = self.texts.get(index, "") + data

    @property
    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs, _ in self.elements if "id" in attrs]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page((WEB / "index.html").read_text())


@pytest.fixture(scope="module")
def scripts() -> str:
    return "\n".join(path.read_text() for path in MODULES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_outside(path: Path) -> None:
    text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.findall(r"""(?:https?:)?//[\w-]+\.\w+|url\(|@import|["']//""", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_inline_or_evaluated(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"\seval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text
    )
    if path.suffix == ".html":
        assert not re.search(r"<style|<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|javascript:", text)


def test_ids_are_unique_and_every_reference_to_one_resolves(page: Page) -> None:
    ids = set(page.ids)
    assert len(ids) == len(page.ids)
    for _, attrs, _ in page.elements:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= ids
        link = attrs.get("href") or ""
        assert not link.startswith("#") or {link[1:], f"view-{link[1:]}"} & ids


def test_every_id_that_the_scripts_name_exists(page: Page, scripts: str) -> None:
    named = re.findall(r'element\("([^"]+)"\)', scripts)
    for listed in re.findall(r"of \[([^\]]+)\]\) \S*element\(id\)", scripts):
        named += re.findall(r'"([^"]+)"', listed)
    assert len(named) > 40
    assert sorted(set(named) - set(page.ids)) == []
    patterns = [re.sub(r"\$\{\w+\}", r"\\w+", name) for name in re.findall(r"element\(`([^`]+)`\)", scripts)]
    assert patterns
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in page.ids), pattern


def test_every_control_has_a_name(page: Page) -> None:
    labelled = {attrs["for"] for tag, attrs, _ in page.elements if tag == "label" and "for" in attrs}
    controls = 0
    for index, (tag, attrs, parents) in enumerate(page.elements):
        if tag in {"input", "select", "textarea"}:
            controls += 1
            assert attrs.get("aria-label") or attrs.get("id") in labelled or "label" in parents, attrs
        elif tag in {"button", "a"}:
            assert attrs.get("aria-label") or page.texts.get(index, "").strip(), attrs
        elif tag == "img":
            assert "alt" in attrs
        elif tag == "canvas":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true", attrs
    assert controls >= 30


def test_files_that_the_page_loads_exist(page: Page) -> None:
    loaded = [
        attrs.get("src") or attrs.get("href")
        for tag, attrs, _ in page.elements
        if tag in {"script", "link"} or (tag == "img" and "src" in attrs)
    ]
    assert len(loaded) >= 8
    for name in loaded:
        assert name
        assert (WEB / name).is_file(), name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_imports_name_what_the_other_module_exports(path: Path) -> None:
    for names, source in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', path.read_text()):
        exported = re.findall(
            r"export (?:async )?(?:function\*?|const|class) (\w+)", (WEB / source).read_text()
        )
        assert {name.strip() for name in names.split(",") if name.strip()} <= set(exported), source


def test_every_module_is_reached_from_the_page(page: Page) -> None:
    reached, waiting = set(), [attrs["src"] or "" for tag, attrs, _ in page.elements if tag == "script"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += re.findall(r'from "\./([^"]+)"', (WEB / name).read_text())
    assert reached == {path.name for path in MODULES}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("ink", "paper"),
        ("muted", "paper"),
        ("muted", "surface"),
        ("accent", "paper"),
        ("accent-ink", "accent"),
        ("ink", "sunk"),
        ("ink", "accent-soft"),
        ("muted", "sunk"),
        ("clay", "paper"),
        ("clay", "surface"),
    ],
)
def test_text_is_readable(scheme: str, ink: str, paper: str) -> None:
    """Contrast of at least 4.5. Source: W3C, Web Content Accessibility Guidelines 2.2, 1.4.3."""
    assert contrast(ink, paper, scheme) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("edge", "paper"), [("line-strong", "surface"), ("line-strong", "paper"), ("accent", "surface")]
)
def test_edges_of_controls_can_be_seen(scheme: str, edge: str, paper: str) -> None:
    """Contrast of at least 3. Source: W3C, Web Content Accessibility Guidelines 2.2, 1.4.11."""
    assert contrast(edge, paper, scheme) >= 3


def contrast(ink: str, paper: str, scheme: str) -> float:
    """Contrast of two colours of style.css by name, 1 .. 21."""
    found = re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", (WEB / "style.css").read_text()
    )
    colours = {name: light if scheme == "light" else dark for name, light, dark in found}
    one, other = sorted((luminance(colours[ink]), luminance(colours[paper])))
    return (other + 0.05) / (one + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of a #rrggbb colour, 0 .. 1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_motion_follows_the_readers_settings_and_focus_is_seen() -> None:
    styles = (WEB / "style.css").read_text()
    assert "prefers-reduced-motion: reduce" in styles
    assert ":focus-visible" in styles


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_short(path: Path) -> None:
    assert path.read_text().count("\n") <= 400
