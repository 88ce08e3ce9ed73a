"""Pictures on the page, in a real browser against the stub server: what is given and what must then be seen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save


def test_a_newcomer_sees_a_reconstruction_at_once(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    assert float(visitor.text("psnr")) > 10
    assert visitor.text("caption") == "sample, 512 × 512"
    assert visitor.run("return document.getElementById('slider').hidden") is False


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_given_is_shown_beside_its_reconstruction(visitor: Any, stub: Any, way: str) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    x = visitor.picture(80, 112)
    visitor.give(way, visitor.as_png(x), "mine.png")
    visitor.settle()
    assert stub.bodies("/v1/reconstruct")[-1] == stub.bodies("/v1/encode")[-1] == visitor.as_png(x)
    assert (visitor.view("original") == x).all()
    x_hat = visitor.view("reconstruction")
    blocks = x.reshape(5, 16, 7, 16, 3).mean((1, 3))
    assert np.abs(x_hat[8::16, 8::16].astype(int) - blocks).max() <= 1

    difference = visitor.view("difference").astype(int)
    assert (difference == np.minimum(255, 5 * np.abs(x.astype(int) - x_hat))).all()
    visitor.choose("gain", "1")
    error = np.mean(visitor.view("difference").astype(float) ** 2)
    assert float(visitor.text("psnr")) == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)

    assert visitor.text("latent-shape") == "3 × 5 × 7"
    assert float(visitor.text("values-ratio")) == 256
    assert float(visitor.text("bytes-ratio")) == 128
    assert "16 bits a value" in visitor.text("bytes-note")
    latent = visitor.view("latent")
    assert latent.shape[0] / latent.shape[1] == pytest.approx(5 / 7, rel=0.02)
    assert len(np.unique(latent.reshape(-1, 3), axis=0)) > 20


def test_the_latent_can_be_saved(visitor: Any, stub: Any, tmp_path: Path) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    sent = stub.latents[-1]
    assert visitor.text("latent-file-size") == f"{len(sent) / 1000:.3g} kB"
    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    visitor.browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    visitor.click("#latent-download")
    saved = tmp_path / "sample.safetensors"
    visitor.wait(lambda: saved.is_file() and saved.stat().st_size == len(sent), "nothing was saved")
    assert saved.read_bytes() == sent

    visitor.choose("latent-dtype", "float16")
    small = tmp_path / "sample.float16.safetensors"
    name = "return document.getElementById('latent-download').download"
    visitor.wait(lambda: visitor.run(name) == small.name, "the latent is not offered as float16")
    visitor.click("#latent-download")
    visitor.wait(lambda: small.is_file() and small.stat().st_size > 0, "nothing was saved")
    assert load(small.read_bytes())["z"].dtype == np.float16


def test_a_saved_latent_becomes_the_same_picture_again(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    x_hat = visitor.view("reconstruction")
    visitor.give("drop", stub.latents[-1], "kept.safetensors")
    visitor.settle()
    assert visitor.text("caption") == "Decoded from the latent alone."
    assert (visitor.view("reconstruction") == x_hat).all()
    assert visitor.text("psnr") == "–"
    assert float(visitor.text("values-ratio")) == 256
    visitor.click('input[value="compare"]')
    assert visitor.hidden("slider")
    assert visitor.text("caption") == "kept.safetensors, decoded to 512 × 512"


def test_the_slider_moves_by_keyboard_and_by_pointer(visitor: Any, stub: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    visitor.browser.get(stub.url)
    visitor.settle()
    clip = "return getComputedStyle(document.getElementById('pane-over')).clipPath"
    assert "50%" in visitor.run(clip)
    visitor.browser.find_element("id", "split").send_keys(Keys.ARROW_RIGHT)
    assert "51%" in visitor.run(clip)
    shown = visitor.browser.find_element("id", "picture")
    offset = -shown.size["width"] // 4
    ActionChains(visitor.browser, duration=20).move_to_element_with_offset(shown, offset, 0).click().perform()
    assert float(visitor.run("return document.getElementById('split').value")) == pytest.approx(25, abs=1)


def test_large_pictures_are_made_smaller_unless_told_not_to(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    x = visitor.picture(300, 1200)
    visitor.give("drop", visitor.as_png(x), "wide.png")
    visitor.settle()
    assert visitor.text("caption") == "wide.png, 512 × 128, made smaller from 1200 × 300"
    visitor.choose("longest", "0")
    visitor.settle()
    assert stub.bodies("/v1/encode")[-1] == visitor.as_png(x)
    assert visitor.text("caption") == "wide.png, 1200 × 300"


def test_transparency_is_laid_over_white_as_the_server_does(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    buffer = io.BytesIO()
    Image.new("RGBA", (48, 48), (200, 0, 0, 0)).save(buffer, "png")
    visitor.give("drop", buffer.getvalue(), "glass.png")
    visitor.settle()
    assert (visitor.view("original") == 255).all()


def test_the_servers_sentence_is_shown_and_goes_away(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.give("drop", b"not a picture", "notes.txt")
    visitor.wait(lambda: not visitor.hidden("error"), "no error was shown")
    assert visitor.text("error-text") == "This is not a picture: send PNG, JPEG or WebP."
    assert visitor.text("psnr") == "–"
    visitor.give("drop", visitor.as_png(visitor.picture(32, 32)), "fine.png")
    visitor.settle()
    assert visitor.hidden("error")
    assert visitor.text("psnr") != "–"


def test_a_discrete_tokenizer_shows_its_codes_and_its_bits(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    frame = "return document.getElementById('thumb-codes').closest('.frame').hidden"
    assert visitor.run(frame) is True
    assert not any("what=indices" in path for path, _ in stub.requests)
    visitor.choose("tokenizer", "coded")
    visitor.settle()
    x = visitor.picture(80, 112)
    visitor.give("drop", visitor.as_png(x), "mine.png")
    visitor.settle()
    assert visitor.run(frame) is False
    assert "512 codes" in visitor.text("model-note")
    assert "indices of 9 bits, 0.0357 bits a pixel" in visitor.text("bytes-note")  # 40 bytes for 80 x 112
    shown = visitor.view("codes")
    assert shown.shape[0] * 7 == shown.shape[1] * 5
    blocks = x.reshape(5, 16, 7, 16, 3).mean((1, 3)) / 127.5
    cell = shown.shape[0] // 5
    assert (shown[cell // 2 :: cell, cell // 2 :: cell] == np.rint(blocks * 3.5) * 36).all()
    visitor.choose("tokenizer", "demo")
    visitor.settle()
    assert visitor.run(frame) is True
    assert visitor.run("return document.querySelector('input[name=view]:checked').value") == "compare"


def test_saved_indices_are_decoded(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.choose("tokenizer", "coded")
    visitor.settle()
    indices = np.arange(6, dtype=np.uint16).reshape(1, 2, 3) * 80
    body = save({"indices": indices}, {"size": "32,48", "spec_id": "0123456789abcdef"})
    visitor.give("drop", body, "mine.safetensors")
    visitor.settle()
    assert "saved indices" in visitor.text("psnr-note")
    picture = visitor.view("reconstruction")
    assert picture.shape == (32, 48, 3)
    digits = np.stack([indices[0] // 64, indices[0] // 8 % 8, indices[0] % 8], axis=-1)
    assert np.abs(picture[8::16, 8::16].astype(int) - digits * 255 / 7).max() <= 1
    assert stub.bodies("/v1/decode")[-1] == body


def test_the_other_tokenizer_is_used_when_chosen(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.choose("tokenizer", "other")
    visitor.wait(
        lambda: any("model=other" in path for path, _ in stub.requests), "the other tokenizer was not asked"
    )
    visitor.settle()
    assert visitor.text("model-note").startswith("other: 3 channels")


def test_the_latents_colours_are_its_principal_components(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url + "favicon.svg")
    generator = np.random.default_rng(3)
    channels, positions = 6, 40
    z = (
        generator.normal(size=(channels, channels))
        @ (generator.normal(size=(channels, positions)).T * [5, 3, 2, 1, 1, 1]).T
    )
    script = """
        const [values, channels, positions, done] = arguments;
        import("/latents.js")
          .then(({ principalComponents }) => principalComponents({ values, channels, positions }, 3))
          .then(({ scores, shares }) => done([scores.map((each) => [...each]), shares]))
          .catch((error) => done(String(error)));
    """
    scores, shares = visitor.browser.execute_async_script(script, z.ravel().tolist(), channels, positions)
    centred = z - z.mean(axis=1, keepdims=True)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(shares, (singular**2 / (singular**2).sum())[:3], atol=1e-6)
    expected = rows[:3] * np.sqrt(positions)  # unit variance
    for score, row in zip(np.asarray(scores), expected, strict=True):
        assert np.abs(score * np.sign(score @ row) - row).max() < 1e-3


def test_zoom_and_place_are_the_same_in_every_picture(visitor: Any, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    shapes = "return ['stage-base', 'stage-top'].map((id) => getComputedStyle(document.getElementById(id)).transform)"
    assert visitor.text("zoom-fit") == "1×"
    visitor.click("#zoom-in")
    visitor.click("#zoom-in")
    assert visitor.text("zoom-fit") == "2.3×"  # 1.5 twice
    visitor.run("document.getElementById('picture').focus()")
    visitor.press("\ue014")  # the right arrow
    base, top = visitor.run(shapes)
    assert base == top
    assert base.startswith("matrix(2.25, 0, 0, 2.25, -")
    visitor.click('input[name="compare-as"][value="both"]')
    base, top = visitor.run(shapes)
    assert base == top
    assert base.startswith("matrix(2.25")
    sides = visitor.run(
        "return [...document.querySelectorAll('.pane')].map((e) => { const b = e.getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })"
    )
    assert sides[0][2:] == pytest.approx(sides[1][2:], abs=1)
    assert (
        sides[1][0] >= sides[0][0] + sides[0][2] or sides[1][1] >= sides[0][1] + sides[0][3]
    )  # they do not overlap
    assert not visitor.visible("#slider")
    visitor.run("document.getElementById('picture').focus()")
    visitor.press("0")
    assert visitor.text("zoom-fit") == "1×"
    assert visitor.run(shapes)[0] == "matrix(1, 0, 0, 1, 0, 0)"


def test_a_link_opens_the_view_and_the_tokenizer_that_it_names(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url, "#reconstruct?view=latent&model=other&longest=256")
    visitor.settle()
    assert visitor.text("caption").startswith("One tile per position")
    assert "% of its variance" in visitor.text("caption")
    assert visitor.value("tokenizer") == "other"
    assert all("model=other" in path for path, _ in stub.requests if path.startswith("/v1/encode"))
    assert visitor.view("original").shape == (256, 256, 3)
    assert visitor.run("return location.hash") == "#reconstruct?view=original&model=other&longest=256"
