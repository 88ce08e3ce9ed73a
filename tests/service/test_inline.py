"""Files inside JSON: there and back, measured before they are decoded."""

import base64
import json
import tracemalloc

import pytest

from service.errors import BadForm, BodyTooLarge
from service.inline import files_of_json, read_inline

LIMITS = {"max_files": 3, "max_bytes": 100}
TEXT = base64.b64encode(bytes(range(80))).decode()


def read(content: object) -> list[bytes]:
    return files_of_json(json.dumps(content).encode(), "image", **LIMITS)


def test_one_or_several_plain_or_as_data_urls() -> None:
    url = f"data:image/png;base64,{TEXT}"
    assert read({"image": TEXT}) == read({"image": url}) == [bytes(range(80))]
    assert read({"images": [TEXT, url]}) == [bytes(range(80))] * 2


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "text",
        None,
        {"image": 1},
        {"image": None},
        {"images": TEXT},
        {"images": []},
        {"images": [1]},
        {"images": [TEXT] * 4},
        {"image": TEXT, "more": 1},
        {"picture": TEXT},
        {"image": "a"},
        {"image": "=="},
        {"image": TEXT + "\n"},
        {"image": "ä" * 8},
        {"image": "data:image/png;base64"},
        {"image": "data:image/svg+xml,<svg/>"},
        {"image": "data:" + "x" * 300 + ";base64,AAAA"},
        {"image": "https://example.org/a.png"},
    ],
)
def test_other_json_is_refused(content: object) -> None:
    with pytest.raises(BadForm):
        read(content)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"image": NaN}'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadForm):
        files_of_json(body, "image", **LIMITS)


def test_large_files_are_refused_before_they_are_decoded() -> None:
    assert len(read_inline(base64.b64encode(bytes(100)).decode(), "image", 100)) == 100
    text = "A" * 40_000_000
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="100 bytes"):
            read_inline(text, "image", 100)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
