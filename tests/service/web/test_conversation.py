"""The page and its server, in a real browser: what is generated, and loading, full, locked and absent servers."""

from __future__ import annotations

import json
from typing import Any


def test_one_of_each_class_from_one_seed(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.click("#generate-button")
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")
    asked = [json.loads(body) for body in stub.bodies("/v1/generate")]
    assert sorted(each["label"] for each in asked) == [0, 1, 2]
    assert len({each["seed"] for each in asked}) == 1
    assert str(asked[0]["seed"]) in visitor.text("generate-note")
    captions = visitor.run(
        "return [...document.querySelectorAll('.result figcaption span')].map((e) => e.textContent)"
    )
    assert captions == ["dress", "hat", "shoes"]


def test_several_of_one_class_and_a_look_at_one(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    for name, value in {"label": "1", "count": "4", "steps": "9", "guidance": "4.5"}.items():
        visitor.choose(name, value)
    visitor.click("#generate-button")
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")
    expected = {"model": "demo", "label": 1, "num_images": 4, "num_steps": 9, "guidance": 4.5, "seed": None}
    assert json.loads(stub.bodies("/v1/generate")[-1]) == expected | {"size": [64, 64], "output": "png"}
    assert visitor.text("generate-note").startswith("Seed 4711, 9 steps, guidance 4.5")
    assert visitor.run("return document.querySelectorAll('.result img').length") == 4

    visitor.click("#keep-seed")
    visitor.click("#generate-button")
    visitor.wait(lambda: len(stub.bodies("/v1/generate")) == 2, "not asked again")
    assert json.loads(stub.bodies("/v1/generate")[-1])["seed"] == 4711
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")

    visitor.click(".result:nth-child(2) button")
    visitor.wait(lambda: "hat-seed-4711-2.png" in visitor.text("caption"), "the result was not opened")
    visitor.settle()
    assert stub.bodies("/v1/encode")[-1] == stub.generated[-1][1]


def test_a_refused_generation_says_why(visitor: Any, stub: Any) -> None:
    stub.generate_error = (422, "This generator makes 64x64 only; leave size out.")
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.choose("label", "0")
    visitor.click("#generate-button")
    visitor.wait(lambda: not visitor.hidden("error"), "no error was shown")
    assert visitor.text("error-text") == stub.generate_error[1]
    assert visitor.text("generate-button") == "Generate"
    visitor.choose("seed", "-3")
    visitor.run("document.getElementById('generate-form').noValidate = true")
    visitor.click("#generate-button")
    visitor.wait(lambda: "seed is a whole number" in visitor.text("error-text"), "the seed was taken")


def test_the_page_waits_for_a_server_that_is_loading(visitor: Any, stub: Any) -> None:
    stub.ready = False
    visitor.browser.get(stub.url)
    visitor.wait(lambda: visitor.text("status-text") == "Loading", "it does not say so")
    assert "loading its model" in visitor.text("stage-note")
    assert stub.bodies("/v1/encode") == []
    stub.ready = True
    visitor.settle()
    assert visitor.hidden("stage-note")
    assert visitor.text("psnr") != "–"


def test_a_full_server_is_asked_again(visitor: Any, stub: Any) -> None:
    stub.full = True
    visitor.browser.get(stub.url)
    visitor.wait(lambda: visitor.text("status-text").startswith("Busy"), "it does not say so")
    assert visitor.text("psnr") == "–"
    stub.full = False
    visitor.settle()
    assert visitor.text("psnr") != "–"
    assert visitor.hidden("error")


def test_a_key_is_asked_for_only_when_the_server_wants_one(visitor: Any, stub: Any) -> None:
    stub.key = "sesame"
    visitor.browser.get(stub.url)
    opened = "return document.getElementById('key-dialog').open"
    visitor.wait(lambda: visitor.run(opened), "no key was asked for")
    visitor.browser.find_element("id", "key").send_keys("sesame\n")
    visitor.settle()
    assert visitor.text("psnr") != "–"
    assert visitor.run(opened) is False
    visitor.run("sessionStorage.clear()")


def test_without_a_generator_its_panel_is_not_there(visitor: Any, stub: Any) -> None:
    stub.generators = False
    visitor.browser.get(stub.url)
    visitor.settle()
    assert visitor.hidden("generate")


def test_a_server_that_was_away_gets_the_picture_when_it_is_back(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    stub.away = True
    visitor.give("drop", visitor.as_png(visitor.picture(48, 32)), "late.png")
    visitor.wait(lambda: visitor.text("status-text") == "No answer", "it does not say so")
    assert visitor.text("error-text") == "The server does not answer. Check that it is still running."
    stub.away = False
    visitor.settle()
    assert visitor.hidden("error")
    assert visitor.text("latent-shape") == "3 × 3 × 2"
