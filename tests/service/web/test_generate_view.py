"""Generate, in a real browser against the stub server: what is asked for, seen on the way, and kept."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.web.stub_model import form_fields

CAPTIONS = (
    "return [...document.querySelectorAll('.result:not(.empty) figcaption span')].map((e) => e.textContent)"
)


def arrive(visitor: Any, stub: Any, settings: str = "") -> None:
    visitor.open(stub.url, f"#generate{settings}")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")
    visitor.wait(
        lambda: visitor.run("return document.getElementById('label').options.length") > 0, "no classes"
    )


def generate(visitor: Any) -> None:
    visitor.click("#generate-button")
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")


def test_one_of_each_class_from_one_seed(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    generate(visitor)
    asked = stub.asked("/v1/generate")
    assert sorted(each["label"] for each in asked) == [0, 1, 2]
    assert len({each["seed"] for each in asked}) == 1
    assert str(asked[0]["seed"]) in visitor.text("generate-note")
    assert visitor.run(CAPTIONS) == ["dress", "hat", "shoes"]


def test_several_of_one_class_come_from_seeds_that_follow(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    for name, value in {"label": "1", "count": "4", "steps": "9", "guidance": "4.5", "seed": "40"}.items():
        visitor.choose(name, value)
    generate(visitor)
    asked = sorted(stub.asked("/v1/generate"), key=lambda each: each["seed"])
    common = {"model": "demo", "label": 1, "num_steps": 9, "guidance": 4.5, "size": [64, 64], "output": "png"}
    assert asked == [common | {"seed": 40 + index, "stream": True} for index in range(4)]
    assert visitor.text("generate-note").startswith("Seed 40, 9 steps, guidance 4.5")
    assert visitor.run(CAPTIONS) == ["Seed 40", "Seed 41", "Seed 42", "Seed 43"]
    link = visitor.run("return location.hash")
    assert link == "#generate?label=1&count=4&steps=9&guidance=4.5&seed=40"

    arrive(visitor, stub, link.removeprefix("#generate"))
    shown = {name: visitor.value(name) for name in ("label", "count", "steps", "guidance", "seed")}
    assert shown == {"label": "1", "count": "4", "steps": "9", "guidance": "4.5", "seed": "40"}
    assert len(stub.asked("/v1/generate")) == 4  # a link shows settings, it does not spend anything


def test_previews_are_seen_before_the_picture(visitor: Any, stub: Any) -> None:
    stub.gate = threading.Event()
    arrive(visitor, stub)
    visitor.choose("label", "2")
    visitor.choose("count", "1")
    visitor.click("#generate-button")
    visitor.wait(lambda: visitor.visible(".result .preview"), "no preview was shown")
    assert visitor.run("return document.querySelector('.preview').naturalWidth") == 8
    assert visitor.run("return document.querySelector('.bar span').style.getPropertyValue('--done')") == "50%"
    assert visitor.text("generate-button") == "Stop"
    stub.gate.set()
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")
    assert not visitor.visible(".preview")
    assert visitor.run("return document.querySelector('.result img').naturalWidth") == 64


def test_stop_gives_up_what_runs(visitor: Any, stub: Any) -> None:
    stub.gate = threading.Event()
    arrive(visitor, stub)
    visitor.click("#generate-button")
    visitor.wait(lambda: visitor.visible(".result .preview"), "no preview was shown")
    visitor.click("#generate-button")
    visitor.wait(lambda: visitor.text("generate-note") == "Stopped.", "it went on")
    assert visitor.text("generate-button") == "Generate"
    assert not visitor.visible(".result .preview")
    assert visitor.hidden("error")


def test_a_picture_is_opened_and_looked_at_and_the_seed_is_kept(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.choose("label", "1")
    visitor.choose("count", "2")
    generate(visitor)
    seed = min(each["seed"] for each in stub.asked("/v1/generate"))
    visitor.click("#keep-seed")
    assert visitor.value("seed") == str(seed)

    visitor.click(".result:nth-child(2) button")
    visitor.wait(lambda: visitor.visible("#result-dialog"), "the picture was not opened")
    assert visitor.text("result-facts") == f"hat, seed {seed + 1}, 20 steps, guidance 3.0"
    assert visitor.run("return document.getElementById('result-save').download") == f"hat-seed-{seed + 1}.png"
    visitor.click("#result-reconstruct")
    visitor.wait(lambda: visitor.visible("#view-reconstruct"), "the view did not change")
    visitor.settle()
    assert visitor.text("caption") == f"hat-seed-{seed + 1}.png, 64 × 64"
    assert stub.bodies("/v1/encode")[-1] == stub.generated[1, seed + 1]


def test_the_grid_is_one_file(visitor: Any, stub: Any, tmp_path: Any) -> None:
    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    visitor.browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    arrive(visitor, stub)
    visitor.choose("seed", "5")
    generate(visitor)
    visitor.wait(lambda: visitor.visible("#save-grid"), "no grid is offered")
    visitor.click("#save-grid")
    saved = tmp_path / "demo-seed-5.png"
    visitor.wait(lambda: saved.is_file() and saved.stat().st_size > 0, "nothing was saved")
    grid = np.asarray(Image.open(io.BytesIO(saved.read_bytes())).convert("RGB"))
    assert grid.shape == (64, 3 * 64 + 2 * 8, 3)
    for place in range(3):
        picture = np.asarray(Image.open(io.BytesIO(stub.generated[place, 5])).convert("RGB"))
        assert (grid[:, 72 * place : 72 * place + 64] == picture).all()


def test_a_refused_generation_says_why(visitor: Any, stub: Any) -> None:
    stub.generate_error = (422, "This generator makes 64x64 only; leave size out.")
    arrive(visitor, stub)
    visitor.click("#generate-button")
    visitor.wait(lambda: not visitor.hidden("error"), "no error was shown")
    assert visitor.text("error-text") == stub.generate_error[1]
    assert visitor.text("generate-button") == "Generate"
    visitor.choose("seed", "-3")
    visitor.run("document.getElementById('generate-form').noValidate = true")
    visitor.click("#generate-button")
    visitor.wait(lambda: "seed is a whole number" in visitor.text("error-text"), "the seed was taken")
    assert visitor.run("return document.getElementById('seed').getAttribute('aria-invalid')") == "true"


def test_a_picture_and_a_painted_mask_are_sent(visitor: Any, stub: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    arrive(visitor, stub)
    x = visitor.picture(64, 64)
    visitor.give("drop", visitor.as_png(x), "mine.png")
    visitor.wait(lambda: visitor.visible("#start-canvas"), "the picture is not on the easel")
    for name, value in {
        "label": "0",
        "count": "1",
        "seed": "9",
        "strength": "0.75",
        "brush-size": "20",
    }.items():
        visitor.choose(name, value)
    easel = visitor.browser.find_element("id", "start-canvas")
    visitor.run("arguments[0].scrollIntoView({ block: 'center' })", easel)
    side = easel.size["width"]
    stroke = ActionChains(visitor.browser, duration=40).move_to_element_with_offset(easel, -side // 4, 0)
    stroke.click_and_hold().move_by_offset(side // 4, 0).release().perform()
    assert visitor.run("return document.getElementById('mask-clear').disabled") is False
    generate(visitor)

    content_type = (
        "multipart/form-data; boundary=" + stub.bodies("/v1/images/edits")[-1].split(b"\r\n")[0][2:].decode()
    )
    fields = form_fields(content_type, stub.bodies("/v1/images/edits")[-1])
    files = {name: fields.pop(name) for name in ("image", "mask")}
    expected = {
        "model": "demo",
        "prompt": "0",
        "seed": "9",
        "num_steps": "20",
        "guidance": "3",
        "size": "64x64",
    }
    expected |= {"strength": "0.75", "output_format": "png", "stream": "true", "partial_images": "3"}
    assert fields == expected
    assert (np.asarray(Image.open(io.BytesIO(files["image"])).convert("RGB")) == x).all()
    anew = np.asarray(Image.open(io.BytesIO(files["mask"])))[..., 3] == 0
    assert anew[32, 17:31].all()  # where the brush went
    assert not anew[:20].any()
    assert not anew[:, 45:].any()
    assert ", from a picture" in visitor.run("return document.querySelector('.result img').alt")

    visitor.click("#mask-clear")
    visitor.click("#start-remove")
    assert not visitor.visible("#start-canvas")


def test_the_brush_paints_by_keyboard(visitor: Any, stub: Any) -> None:
    arrive(visitor, stub)
    visitor.give("drop", visitor.as_png(visitor.picture(64, 64)), "mine.png")
    visitor.wait(lambda: visitor.visible("#start-canvas"), "the picture is not on the easel")
    visitor.run("document.getElementById('start-canvas').focus()")
    assert "nothing painted" in visitor.run("return document.getElementById('start-canvas').ariaLabel")
    visitor.press("\ue012", "\ue012", " ")  # left, left, Space
    assert "a part painted" in visitor.run("return document.getElementById('start-canvas').ariaLabel")


@pytest.mark.parametrize("missing", [("/v1/images/edits",), ()])
def test_starting_from_a_picture_is_offered_where_the_server_does_it(
    visitor: Any, stub: Any, missing: tuple[str, ...]
) -> None:
    stub.without = missing
    arrive(visitor, stub)
    assert visitor.visible("#start") is (not missing)
