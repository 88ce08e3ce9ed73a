"""The page against a real server over tiny models: every view does its work, and nothing is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.conftest import StartServer


@pytest.fixture(scope="module")
def live(browser: Any, start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a server with jobs and one data set; without a browser none is started."""
    photos = tmp_path_factory.mktemp("photos")
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(photos / f"{index}.png")
    state = tmp_path_factory.mktemp("state")
    return f"{start_server(max_pixels=512 * 512, max_images=4, state=state, data=f'photos={photos}').url}/"


def test_a_picture_goes_there_and_back(visitor: Any, live: str) -> None:
    visitor.open(live, "#reconstruct?longest=256")
    visitor.settle()
    x = visitor.picture(40, 72)
    visitor.give("drop", visitor.as_png(x), "mine.png")
    visitor.settle()
    assert visitor.text("latent-shape") == "8 × 10 × 18"
    x_hat = visitor.view("reconstruction").astype(float)
    psnr = 10 * np.log10(255**2 / np.mean((x - x_hat) ** 2))
    assert float(visitor.text("psnr")) == pytest.approx(psnr, abs=0.01)
    visitor.choose("tokenizer", "codes")
    visitor.settle()
    assert visitor.view("codes").shape[1] * 10 == visitor.view("codes").shape[0] * 18


def test_pictures_are_streamed_and_the_same_seed_gives_the_same(visitor: Any, live: str) -> None:
    visitor.open(live, "#generate?label=1&count=2&seed=3&steps=4")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")
    pictures = "return [...document.querySelectorAll('.result img')].map((e) => [e.naturalWidth, e.alt])"
    for _ in range(2):
        visitor.click("#generate-button")
        visitor.wait(lambda: visitor.text("generate-note").startswith("Seed 3"), "nothing was generated")
    assert visitor.run(pictures) == [[32, f"square, seed {seed}, 4 steps, guidance 2.5"] for seed in (3, 4)]
    assert visitor.hidden("error")


def test_a_way_between_two_seeds_is_decoded(visitor: Any, live: str) -> None:
    visitor.open(live, "#interpolate?a=0:1&b=2:5&count=5")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")
    visitor.click("#mix-button")
    visitor.wait(lambda: visitor.text("mix-note").startswith("5 pictures from circle"), "nothing was decoded")
    assert visitor.run("return document.querySelectorAll('#mix-strip img').length") == 5


def test_a_picture_is_made_from_another(visitor: Any, live: str) -> None:
    visitor.open(live, "#generate?label=0&count=1&seed=3&steps=4")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")
    visitor.wait(lambda: visitor.visible("#start"), "starting from a picture is not offered")
    visitor.give("drop", visitor.as_png(visitor.picture(40, 40)), "mine.png")
    visitor.wait(lambda: visitor.visible("#start-canvas"), "the picture is not on the easel")
    visitor.run("document.getElementById('start-canvas').focus()")
    visitor.press(" ")
    visitor.click("#generate-button")
    visitor.wait(lambda: visitor.text("generate-note").startswith("Seed 3"), "nothing was generated")
    assert visitor.hidden("error")
    assert visitor.run("return document.querySelector('.result img').naturalWidth") == 32


def test_models_and_jobs_are_shown(visitor: Any, live: str) -> None:
    visitor.open(live, "#models")
    visitor.wait(lambda: visitor.visible(".card"), "no model is shown")
    names = "return [...document.querySelectorAll('.card h2')].map((e) => e.textContent)"
    assert visitor.run(names) == ["tiny", "other", "codes", "shapes"]
    visitor.click('.views [href="#jobs"]')
    visitor.wait(lambda: visitor.value("job-data") == "photos", "the data sets are not there")
    assert "No jobs yet" in visitor.text("jobs")
