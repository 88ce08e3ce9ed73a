"""Models, in a real browser against the stub server: one card each, and loading."""

from __future__ import annotations

from typing import Any


def cards(visitor: Any) -> list[str]:
    return list(visitor.run("return [...document.querySelectorAll('.card')].map((e) => e.innerText)"))


def test_every_model_has_a_card(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url, "#models")
    visitor.wait(lambda: len(cards(visitor)) == 4, "not every model has a card")
    demo, _, coded, generator = cards(visitor)
    for fact in (
        "the default tokenizer",
        "3 channels, 1/16 of each side",
        "CC0-1.0",
        "27.0 MB",
        "256×",
        "27.22",
        "341 pictures",
    ):
        assert fact in demo, fact
    assert "512, 9 bits each" in coded
    for fact in ("3 classes: dress, hat, shoes", "64 × 64", "20 steps, guidance 3", "demo"):
        assert fact in generator, fact
    assert "3 tokenizers, 1 generator" in visitor.text("models-note")
    assert "16.8 megapixels" in visitor.text("models-note")


def test_a_model_is_unloaded_and_loaded(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url, "#models")
    button = '[aria-label="{}: tokenizer other"]'
    visitor.wait(lambda: visitor.visible(button.format("Unload")), "it cannot be unloaded")
    visitor.click(button.format("Unload"))
    visitor.wait(lambda: visitor.visible(button.format("Load")), "it is still loaded")
    assert stub.unloaded == {"other"}
    assert ("/v1/models/other/unload?kind=tokenizer", b"") in stub.requests
    visitor.click(button.format("Load"))
    visitor.wait(lambda: visitor.visible(button.format("Unload")), "it was not loaded")
    assert stub.unloaded == set()


def test_without_the_routes_there_are_no_buttons(visitor: Any, stub: Any) -> None:
    stub.without = ("/v1/models/{name}/load", "/v1/models/{name}/unload")
    visitor.open(stub.url, "#models")
    visitor.wait(lambda: len(cards(visitor)) == 4, "not every model has a card")
    assert not visitor.visible(".card-tools")
