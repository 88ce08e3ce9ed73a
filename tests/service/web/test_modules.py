"""Single modules of the page, called in a real browser: events, safetensors, ways between latents, sheets."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save


@pytest.fixture
def bare(visitor: Any, stub: Any) -> Any:
    """A visitor of an empty page of that server, where modules can be imported."""
    visitor.browser.get(stub.url + "blank")
    return visitor


def given(visitor: Any, script: str, *arguments: object) -> Any:
    answer = visitor.module(script, *arguments)
    assert not (isinstance(answer, dict) and set(answer) == {"error"}), answer
    return answer


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_safetensors_file_is_read_as_it_was_written(bare: Any, dtype: type) -> None:
    z = np.random.default_rng(0).normal(size=(1, 3, 2, 5)).astype(dtype)
    z.flat[:3] = [
        0.0,
        -6e-5,
        65504.0 if dtype is np.float16 else 1e30,
    ]  # zero, below the normal numbers, the largest
    body = base64.b64encode(save({"z": z}, {"size": "32,80", "spec_id": "ab"})).decode()
    script = """
        const [text] = args;
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const { tensors, metadata } = (await import("/safetensors.js")).readTensors(bytes.buffer);
        return [tensors.z.shape, [...tensors.z.values], metadata];
    """
    shape, values, metadata = given(bare, script, body)
    assert shape == [1, 3, 2, 5]
    assert np.array_equal(np.asarray(values, np.float32), z.astype(np.float32).ravel())
    assert metadata == {"size": "32,80", "spec_id": "ab"}


def test_bfloat16_is_read(bare: Any) -> None:
    values = np.asarray([1.0, -2.5, 3.140625, 0.0], np.float32)
    raw = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    header = json.dumps({"z": {"dtype": "BF16", "shape": [1, 4], "data_offsets": [0, 8]}}).encode()
    body = base64.b64encode(len(header).to_bytes(8, "little") + header + raw).decode()
    script = """
        const [text] = args;
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        return [...(await import("/safetensors.js")).readTensors(bytes.buffer).tensors.z.values];
    """
    assert given(bare, script, body) == values.tolist()


def test_a_written_file_is_read_by_the_library(bare: Any) -> None:
    script = """
        const { writeTensors } = await import("/safetensors.js");
        const values = Float32Array.from({ length: 12 }, (_, index) => index / 7 - 1);
        const tail = { shape: [1], values: new Float32Array([5]) };
        const bytes = writeTensors({ z: { shape: [2, 2, 3], values }, tail }, { size: "16,24", spec_id: "é" });
        return btoa(String.fromCharCode(...bytes));
    """
    body = base64.b64decode(given(bare, script))
    tensors = load(body)
    assert np.allclose(tensors["z"].ravel(), np.arange(12) / 7 - 1)
    assert tensors["z"].shape == (2, 2, 3)
    assert tensors["tail"].tolist() == [5]
    assert (8 + int.from_bytes(body[:8], "little")) % 8 == 0


@pytest.mark.parametrize("broken", [b"abc", b"\xff" * 8 + b"{}", b"\x02" + b"\0" * 7 + b"no"])
def test_a_broken_file_is_refused_with_a_sentence(bare: Any, broken: bytes) -> None:
    script = """
        const [text] = args;
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        try {
          (await import("/safetensors.js")).readTensors(bytes.buffer);
        } catch (error) {
          return error.message;
        }
        return "";
    """
    sentence = given(bare, script, base64.b64encode(broken).decode())
    assert sentence.startswith("This")
    assert sentence.endswith(".")


def test_ways_between_two_latents(bare: Any) -> None:
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=64), 3 * draw.normal(size=64)
    script = """
        const [a, b] = args.map((values) => Float64Array.from(values));
        const { alongLine, alongArc } = await import("/mixing.js");
        const at = (way) => [0, 0.25, 0.5, 1].map((t) => [...way(a, b, t)]);
        return [at(alongLine), at(alongArc), [...alongArc(a, a.map((value) => -value), 0.5)]];
    """
    line, arc, opposite = (np.asarray(each) for each in given(bare, script, a.tolist(), b.tolist()))
    times = np.asarray([0, 0.25, 0.5, 1])[:, None]
    assert np.allclose(line, (1 - times) * a + times * b)
    lengths = [np.linalg.norm(each) for each in (a, b)]
    angle = np.arccos(a @ b / lengths[0] / lengths[1])
    unit = (np.sin((1 - times) * angle) * a / lengths[0] + np.sin(times * angle) * b / lengths[1]) / np.sin(
        angle
    )
    assert np.allclose(arc, ((1 - times) * lengths[0] + times * lengths[1]) * unit)
    assert np.allclose(opposite, 0)  # no arc is the shortest: a line


def test_latents_of_other_shapes_are_not_mixed(bare: Any) -> None:
    script = """
        const { between, alongLine } = await import("/mixing.js");
        const latent = (shape) => ({ z: { shape, values: new Float32Array(shape.reduce((a, b) => a * b)) } });
        try {
          between(latent([1, 2, 3]), latent([1, 2, 4]), 5, alongLine);
        } catch (error) {
          return error.message;
        }
        return "";
    """
    assert given(bare, script).startswith("The two latents differ in shape.")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_however_they_are_cut(bare: Any, size: int) -> None:
    text = (
        'event: progress\ndata: {"step": 1}\n\n: still here\n\n'
        'event: result\r\ndata: {"note":\r\ndata: "å\u2713"}\r\n\r\ndata: 3\n\ndata: [DONE]\n\ndata: 4\n\n'
    )
    script = """
        const [text, size] = args;
        const bytes = new TextEncoder().encode(text);
        const body = new ReadableStream({
          start(controller) {
            for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
            controller.close();
          },
        });
        const { eventsOf } = await import("/events.js");
        const seen = [];
        for await (const { event, data } of eventsOf(new Response(body))) seen.push([event, data]);
        return seen;
    """
    expected = [["progress", {"step": 1}], ["result", {"note": "å\u2713"}], ["message", 3]]
    assert given(bare, script, text, size) == expected


def test_a_picture_is_cut_from_the_middle(bare: Any) -> None:
    script = """
        const { cover } = await import("/pictures.js");
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [300, 100];
        const context = canvas.getContext("2d");
        context.fillStyle = "#f00";
        context.fillRect(0, 0, 300, 100);
        context.fillStyle = "#00f";
        context.fillRect(100, 0, 100, 100);
        const { data } = cover(canvas, 50, 50).getContext("2d").getImageData(0, 0, 50, 50);
        return [...data];
    """
    pixels = np.asarray(given(bare, script)).reshape(50, 50, 4)
    assert (pixels[:, 2:-2] == [0, 0, 255, 255]).all()
