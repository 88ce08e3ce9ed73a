"""What was sent, measured before it is decoded."""

from pathlib import Path

import numpy as np
import pytest
from fastapi import Request

from service import wire
from service.errors import NotAnImage, TooManyPixels, WrongShape
from service.registry import ServedTokenizer
from service.routes.sent import described_body, measure, told
from service.schemas import DecodeQuery
from service.settings import Settings
from tests.service.conftest import as_file, picture
from tokenizer.spec import LatentSpec

MODEL = ServedTokenizer("tiny", Path(), LatentSpec.image(8, 4), "0" * 16, None, None, 1)
SETTINGS = Settings(max_pixels=10_000, max_images=4)


def test_one_file_is_itself() -> None:
    body = as_file(picture(33, 47))
    sent = measure([body], {}, MODEL, SETTINGS)
    assert (sent.body, sent.count, sent.size, sent.cost) == (body, 1, (33, 47), 36 * 48)


def test_several_files_of_one_size() -> None:
    files = [as_file(picture(33, 47), kind) for kind in ("PNG", "JPEG", "AVIF")]
    sent = measure(files, {}, MODEL, SETTINGS)
    assert (sent.body, sent.count, sent.cost) == (tuple(files), 3, 3 * 36 * 48)
    with pytest.raises(WrongShape, match="33,47 and 47,33"):
        measure([*files, as_file(picture(47, 33))], {}, MODEL, SETTINGS)


def test_pixels_in_either_form() -> None:
    pixels = np.stack([picture(12, 8, seed) for seed in range(3)])
    for body, headers in (
        (wire.write_npy(pixels), {}),
        (pixels.tobytes(), {"x-tessera-shape": "3,12,8,3"}),
    ):
        sent = measure([body], headers, MODEL, SETTINGS)
        assert (sent.count, sent.size, sent.cost) == (3, (12, 8), 3 * 96)
        np.testing.assert_array_equal(np.asarray(sent.body), pixels)


def test_all_pictures_count_together() -> None:
    files = [as_file(picture(60, 60))] * 3
    with pytest.raises(TooManyPixels, match="3 pictures of 60x60 are 10800 pixels"):
        measure(files, {}, MODEL, SETTINGS)
    assert measure(files[:2], {}, MODEL, SETTINGS).count == 2
    with pytest.raises(WrongShape, match="5 samples: send 1 to 4"):
        measure([wire.write_npy(np.zeros((5, 4, 4, 3), np.uint8))], {}, MODEL, SETTINGS)


def test_arrays_among_files_are_refused() -> None:
    with pytest.raises(NotAnImage):
        measure([as_file(picture(4, 4)), wire.write_npy(picture(4, 4))], {}, MODEL, SETTINGS)


def test_the_query_stands_in_for_headers() -> None:
    request = Request({"type": "http", "headers": [(b"x-tessera-shape", b"1"), (b"x-tessera-spec", b"a")]})
    query = DecodeQuery(shape="1,2", size="8,8")
    found = told(request, query, "shape", "size", "spec")
    assert found == {"x-tessera-shape": "1,2", "x-tessera-spec": "a", "x-tessera-size": "8,8"}


def test_bodies_are_described_for_one_and_for_several() -> None:
    for several, names in ((False, {"image"}), (True, {"image", "images"})):
        content = described_body("image", several)["requestBody"]["content"]
        assert content["application/json"]["schema"]["properties"].keys() == names
        assert content.keys() == {"application/octet-stream", "multipart/form-data", "application/json"}
