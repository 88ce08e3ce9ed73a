"""The steps that operations share: exact conversions between bytes and the network's range."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
import torch

from service.engine.operations.base import (
    from_pixels,
    pad_edges,
    pad_rows,
    picture_answer,
    to_host,
    to_pixels,
)
from tests.service.conftest import as_pixels, picture
from tokenizer.model import pad_to

CPU = torch.device("cpu")


def test_bytes_to_the_network_and_back_are_the_same() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(-1, -1, 3).contiguous()
    x = from_pixels([every, every.flip(0)], CPU, torch.float32)
    assert x.shape == (2, 3, 16, 16)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(to_pixels(x), torch.stack([every, every.flip(0)]))


def test_values_beyond_the_range_are_clamped_and_nan_is_grey() -> None:
    x = torch.tensor([-9.0, 9.0, float("nan")]).view(1, 3, 1, 1)
    assert to_pixels(x).flatten().tolist() == [0, 255, 0]


def test_padding_equals_the_tokenizers_own() -> None:
    pixels = picture(5, 7)
    ours = from_pixels([torch.from_numpy(pad_edges(pixels, (8, 12), first=0))], CPU, torch.float32)
    theirs = pad_to(from_pixels([torch.from_numpy(pixels)], CPU, torch.float32), (8, 12))
    assert torch.equal(ours, theirs)


def test_host_copies_are_arrays() -> None:
    np.testing.assert_array_equal(to_host(torch.arange(3)), [0, 1, 2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_host_copies_from_the_device_wait_for_it() -> None:
    value = torch.ones(1000, 1000, device="cuda")
    for _ in range(50):
        value = value @ value / 1000
    torch.cuda.synchronize()
    np.testing.assert_allclose(to_host(value), 1.0, rtol=1e-3)


def test_one_picture_is_raw_and_several_are_json() -> None:
    pictures = [picture(4, 6, seed) for seed in (1, 2)]
    one = picture_answer(1, pictures[:1], "png", {}, {})
    assert one.media_type == "image/png"
    np.testing.assert_array_equal(as_pixels(one.body), pictures[0])
    several = json.loads(picture_answer(1, pictures, "png", {}, {"seed": 7}).body)
    assert (several["seed"], several["media_type"]) == (7, "image/png")
    for item in several["data"]:
        np.testing.assert_array_equal(as_pixels(base64.b64decode(item["b64"])), pictures[item["index"]])


def test_several_as_npy_are_one_array() -> None:
    pictures = [picture(4, 6, seed) for seed in (1, 2)]
    body = picture_answer(1, pictures, "npy", {}, {}).body
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), np.stack(pictures))


def test_several_as_raw_are_one_array_whose_shape_is_told() -> None:
    pictures = [picture(4, 6, seed) for seed in (1, 2)]
    several = picture_answer(1, pictures, "raw", {}, {})
    assert several.headers == {"x-tessera-shape": "2,4,6,3", "x-tessera-dtype": "uint8"}
    assert several.body == np.stack(pictures).tobytes()
    one = picture_answer(1, pictures[:1], "raw", {"a": "b"}, {})
    assert one.headers == {"a": "b", "x-tessera-shape": "4,6,3", "x-tessera-dtype": "uint8"}


@pytest.mark.parametrize("count", [1, 3])
def test_bundles_hold_however_many_there_are(count: int) -> None:
    pictures = [picture(4, 6, seed) for seed in range(count)]
    packed = picture_answer(1, pictures, "png", {}, {}, bundle="zip")
    assert packed.media_type == "application/zip"
    assert packed.body == picture_answer(1, pictures, "png", {}, {}, bundle="zip").body
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"00{index}.png" for index in range(count)]
        for name, pixels in zip(archive.namelist(), pictures, strict=True):
            np.testing.assert_array_equal(as_pixels(archive.read(name)), pixels)
    listed = json.loads(picture_answer(1, pictures, "npy", {}, {}, bundle="json").body)
    assert listed["media_type"] == "application/x-npy"
    for item, pixels in zip(listed["data"], pictures, strict=True):
        np.testing.assert_array_equal(np.load(io.BytesIO(base64.b64decode(item["b64"]))), pixels)


def test_edges_are_repeated_along_the_axes_that_grow() -> None:
    array = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    grown = pad_edges(array, (3, 4), first=2)
    assert grown[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_edges(array, (2, 3), first=2) is array


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_padded_rows_are_laid_out_alike_however_many_there_were(rows: int) -> None:
    pixels = [torch.from_numpy(picture(4, 6, seed)) for seed in range(rows)]
    x = from_pixels(pixels, CPU, torch.float32)
    padded = pad_rows(x, 4)
    assert padded.shape == (4, 3, 4, 6)
    assert padded.stride() == (72, 24, 6, 1)
    assert torch.equal(padded[:rows], x)
    assert all(torch.equal(row, x[-1]) for row in padded[rows:])
