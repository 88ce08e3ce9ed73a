"""Interpolate, in a real browser against the stub server: two ends, and what lies between."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load


def arrive(visitor: Any, stub: Any, settings: str = "") -> None:
    visitor.open(stub.url, f"#interpolate{settings}")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")


def walk(visitor: Any) -> None:
    visitor.click("#mix-button")
    visitor.wait(lambda: visitor.text("mix-note").endswith("."), "nothing was decoded")


def frame(visitor: Any) -> np.ndarray:
    """The pixels (H, W, 3) of the picture that is shown."""
    # connect-src is 'self': the picture is read through a canvas instead
    script = """
        const done = arguments[0];
        const picture = document.getElementById("mix-picture");
        picture.decode().then(() => {
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
          canvas.getContext("2d").drawImage(picture, 0, 0);
          done(canvas.toDataURL("image/png").split(",")[1]);
        });
    """
    data = visitor.browser.execute_async_script(script)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_from_one_picture_to_another(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.choose("mix-side", "128")
    visitor.choose("mix-way", "line")
    dark, bright = np.full((128, 128, 3), 40, np.uint8), np.full((128, 128, 3), 200, np.uint8)
    visitor.give("drop", visitor.as_png(dark), "dark.png")
    visitor.wait(lambda: "dark.png" in visitor.text("end-a"), "the first picture was not taken")
    visitor.give("drop", visitor.as_png(bright), "bright.png")
    visitor.wait(lambda: "bright.png" in visitor.text("end-b"), "the second picture was not taken")
    walk(visitor)
    assert visitor.text("mix-note").startswith("9 pictures from dark.png to bright.png")
    batches = [load(body)["z"] for body in stub.bodies("/v1/decode")]
    assert [len(batch) for batch in batches] == [8, 1]  # the stub takes eight at once
    path = np.concatenate(batches)
    first, last = (load(body)["z"] for body in stub.latents[-2:])
    if first.mean() > last.mean():
        first, last = last, first  # the two requests came in either order
    for index, z in enumerate(path):
        assert np.abs(z - ((8 - index) * first[0] + index * last[0]) / 8).max() < 1e-5
    visitor.choose("mix-place", "0")
    assert np.abs(frame(visitor).astype(int) - 40).max() <= 1
    visitor.choose("mix-place", "4")
    assert np.abs(frame(visitor).astype(int) - 120).max() <= 1
    assert visitor.text("mix-place-value") == "50 %"
    current = (
        "return [...document.querySelectorAll('#mix-strip [aria-current=true]')].map((e) => e.ariaLabel)"
    )
    assert visitor.run(current) == ["Picture 5 of 9"]
    visitor.click("#mix-strip button:nth-child(9)")
    assert visitor.value("mix-place") == "8"


def test_from_one_seed_to_another_along_an_arc(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub, "?a=1:7&b=2:8&count=5")
    assert visitor.visible("#end-a .end-seed")
    assert not visitor.visible("#mix-side")  # the generator says the size
    walk(visitor)
    asked = stub.asked("/v1/generate")
    ends = {(each["label"], each["seed"], each["output"]) for each in asked}
    assert ends == {(1, 7, "latent"), (2, 8, "latent")}
    path = load(stub.bodies("/v1/decode")[-1])["z"]
    draws = [
        np.random.default_rng((seed, label)).uniform(-1, 1, path.shape[1:])
        for seed, label in ((7, 1), (8, 2))
    ]
    assert np.abs(path[0] - draws[0]).max() < 1e-5
    assert np.abs(path[-1] - draws[1]).max() < 1e-5
    lengths = np.linalg.norm(path.reshape(5, -1), axis=1)
    assert np.allclose(
        lengths, np.linspace(lengths[0], lengths[-1], 5), rtol=1e-4
    )  # the arc keeps its distance
    flat = path.reshape(5, -1) / lengths[:, None]
    angles = np.arccos(np.clip((flat[1:] * flat[:-1]).sum(1), -1, 1))
    assert np.allclose(angles, angles[0], rtol=1e-3)
    assert visitor.run("return location.hash") == "#interpolate?a=1%3A7&b=2%3A8&count=5"


def test_a_seed_and_a_picture(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.give("drop", visitor.as_png(visitor.picture(90, 70)), "mine.png")
    visitor.wait(lambda: "mine.png" in visitor.text("end-a"), "the picture was not taken")
    walk(visitor)
    sent = Image.open(io.BytesIO(stub.bodies("/v1/encode")[-1]))
    assert sent.size == (64, 64)  # as the generator makes them
    assert load(stub.bodies("/v1/decode")[-1])["z"].shape[1:] == (3, 4, 4)


def test_a_missing_picture_is_asked_for(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.click('#end-a input[value="picture"]')
    visitor.click("#mix-button")
    visitor.wait(lambda: not visitor.hidden("error"), "no error was shown")
    assert visitor.text("error-text") == 'There is no picture at "From". Choose one, or take a seed.'
    assert visitor.text("mix-button") == "Interpolate"


def test_the_strip_and_the_latents_are_saved(visitor: Any, stub: Any, tmp_path: Any) -> None:
    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    visitor.browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    arrive(visitor, stub, "?a=0:1&b=0:2&count=5")
    walk(visitor)
    visitor.wait(lambda: visitor.visible("#mix-save-latents"), "no file is offered")
    strip, latents = tmp_path / "interpolation.png", tmp_path / "interpolation.safetensors"
    for name, file in (("strip", strip), ("latents", latents)):
        visitor.click(f"#mix-save-{name}")
        visitor.wait(lambda file=file: file.is_file() and file.stat().st_size > 0, "nothing was saved")
    assert Image.open(io.BytesIO(strip.read_bytes())).size == (5 * 64 + 4 * 4, 64)
    assert latents.read_bytes() == stub.bodies("/v1/decode")[-1]


def test_a_generated_picture_becomes_an_end(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url, "#generate?label=1&count=1&seed=12")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")
    visitor.click("#generate-button")
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")
    visitor.click(".result button")
    visitor.click("#result-to")
    visitor.wait(lambda: visitor.visible("#view-interpolate"), "the view did not change")
    assert visitor.run("return document.querySelector('#end-b .end-seed').value") == "12"
    assert visitor.run("return document.querySelector('#end-b .end-label').value") == "1"
