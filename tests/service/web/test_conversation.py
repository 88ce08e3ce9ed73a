"""The page and its server, in a real browser: loading, full, locked, absent and smaller servers."""

from __future__ import annotations

from typing import Any


def test_the_page_waits_for_a_server_that_is_loading(visitor: Any, stub: Any) -> None:
    stub.ready = False
    visitor.browser.get(stub.url)
    visitor.wait(lambda: visitor.text("status-text") == "Loading", "it does not say so")
    visitor.wait(lambda: "loading its model" in visitor.text("stage-note"), "the stage does not say so")
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


def test_views_without_a_route_or_a_model_are_not_offered(visitor: Any, stub: Any) -> None:
    stub.generators = False
    stub.without = ("/v1/jobs",)
    visitor.open(stub.url, "#generate")
    visitor.wait(lambda: visitor.visible("#view-reconstruct"), "the page stayed where there is nothing")
    visitor.settle()
    offered = (
        "return [...document.querySelectorAll('.views a:not([hidden])')].map((a) => a.textContent.trim())"
    )
    assert visitor.run(offered) == ["Reconstruct", "Interpolate", "Models"]


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
