"""The page in a real browser against the stub server: what a visitor does, and what must then be seen."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-prefers-reduced-motion",
    "--window-size=1280,900",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    pytest.importorskip("selenium", reason="selenium is not installed (pip install -e '.[dev]')")
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


class Visitor:
    """Someone at the page: looks at elements, waits for them, drops and clicks."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def run(self, script: str, *arguments: object) -> Any:  # what a script returns is its own affair
        return self.browser.execute_script(script, *arguments)

    def text(self, name: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", name))

    def hidden(self, name: str) -> bool:
        return bool(self.run("return document.getElementById(arguments[0]).hidden", name))

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def choose(self, name: str, value: str) -> None:
        script = "const e = document.getElementById(arguments[0]); e.value = arguments[1]; "
        self.run(
            script + "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind))", name, value
        )

    def wait(self, what: Callable[[], object], why: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: what(), why)

    def settle(self) -> None:
        """Until the page shows the result of what was last asked for."""
        script = (
            "return document.getElementById('status').dataset.state === 'ready'"
            " && document.getElementById('stage').getAttribute('aria-busy') === 'false'"
        )
        self.wait(lambda: self.run(script), "the page never finished")

    def give(self, kind: str, content: bytes, name: str) -> None:
        """Drops or pastes a file; the page is busy with it when this returns."""
        self.run(
            """
            const [kind, content, name] = arguments;
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
            const event = kind === "drop"
              ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
              : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
            document.body.dispatchEvent(event);
            """,
            kind,
            base64.b64encode(content).decode(),
            name,
        )

    def view(self, name: str) -> np.ndarray:
        """The pixels (H, W, 3) on the stage in one of its views."""
        self.click(f'input[name="view"][value="{name}"]')
        url = self.run("return document.getElementById('stage-base').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


@pytest.fixture
def visitor(browser: Chrome, stub: Any) -> Iterator[Visitor]:
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    yield Visitor(browser)
    complaints = [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]
    # Answers of 4xx and 5xx are logged by the browser itself; anything else is a fault of the page.
    assert [message for message in complaints if "Failed to load resource" not in message] == []
    browser.get("about:blank")


def picture(height: int, width: int) -> np.ndarray:
    """A smooth picture with some noise, (H, W, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    smooth = np.stack([rows * 255 / height, columns * 255 / width, 128 + 0 * rows], axis=-1)
    noise = np.random.default_rng(0).normal(0, 20, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def as_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def test_a_newcomer_sees_a_reconstruction_at_once(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    assert float(visitor.text("psnr")) > 10
    assert visitor.text("caption") == "sample, 512 × 512"
    assert visitor.run("return document.getElementById('slider').hidden") is False


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_given_is_shown_beside_its_reconstruction(visitor: Visitor, stub: Any, way: str) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    x = picture(80, 112)
    visitor.give(way, as_png(x), "mine.png")
    visitor.settle()
    assert stub.bodies("/v1/reconstruct")[-1] == stub.bodies("/v1/encode")[-1] == as_png(x)
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


def test_the_latent_can_be_saved(visitor: Visitor, stub: Any, tmp_path: Path) -> None:
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


def test_a_saved_latent_becomes_the_same_picture_again(visitor: Visitor, stub: Any) -> None:
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


def test_the_slider_moves_by_keyboard_and_by_pointer(visitor: Visitor, stub: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    visitor.browser.get(stub.url)
    visitor.settle()
    clip = "return getComputedStyle(document.getElementById('stage-top')).clipPath"
    assert "50%" in visitor.run(clip)
    visitor.browser.find_element("id", "split").send_keys(Keys.ARROW_RIGHT)
    assert "51%" in visitor.run(clip)
    shown = visitor.browser.find_element("id", "picture")
    offset = -shown.size["width"] // 4
    ActionChains(visitor.browser, duration=20).move_to_element_with_offset(shown, offset, 0).click().perform()
    assert float(visitor.run("return document.getElementById('split').value")) == pytest.approx(25, abs=1)


def test_large_pictures_are_made_smaller_unless_told_not_to(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    x = picture(300, 1200)
    visitor.give("drop", as_png(x), "wide.png")
    visitor.settle()
    assert visitor.text("caption") == "wide.png, 512 × 128, made smaller from 1200 × 300"
    visitor.choose("longest", "0")
    visitor.settle()
    assert stub.bodies("/v1/encode")[-1] == as_png(x)
    assert visitor.text("caption") == "wide.png, 1200 × 300"


def test_transparency_is_laid_over_white_as_the_server_does(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    buffer = io.BytesIO()
    Image.new("RGBA", (48, 48), (200, 0, 0, 0)).save(buffer, "png")
    visitor.give("drop", buffer.getvalue(), "glass.png")
    visitor.settle()
    assert (visitor.view("original") == 255).all()


def test_the_servers_sentence_is_shown_and_goes_away(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.give("drop", b"not a picture", "notes.txt")
    visitor.wait(lambda: not visitor.hidden("error"), "no error was shown")
    assert visitor.text("error-text") == "This is not a picture: send PNG, JPEG or WebP."
    assert visitor.text("psnr") == "–"
    visitor.give("drop", as_png(picture(32, 32)), "fine.png")
    visitor.settle()
    assert visitor.hidden("error")
    assert visitor.text("psnr") != "–"


def test_the_other_tokenizer_is_used_when_chosen(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    visitor.choose("tokenizer", "other")
    visitor.wait(
        lambda: any("model=other" in path for path, _ in stub.requests), "the other tokenizer was not asked"
    )
    visitor.settle()
    assert visitor.text("model-note").startswith("other: 3 channels")


def test_one_of_each_class_from_one_seed(visitor: Visitor, stub: Any) -> None:
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


def test_several_of_one_class_and_a_look_at_one(visitor: Visitor, stub: Any) -> None:
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


def test_a_refused_generation_says_why(visitor: Visitor, stub: Any) -> None:
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


def test_the_page_waits_for_a_server_that_is_loading(visitor: Visitor, stub: Any) -> None:
    stub.ready = False
    visitor.browser.get(stub.url)
    visitor.wait(lambda: visitor.text("status-text") == "Loading", "it does not say so")
    assert "loading its model" in visitor.text("stage-note")
    assert stub.bodies("/v1/encode") == []
    stub.ready = True
    visitor.settle()
    assert visitor.hidden("stage-note")
    assert visitor.text("psnr") != "–"


def test_a_full_server_is_asked_again(visitor: Visitor, stub: Any) -> None:
    stub.full = True
    visitor.browser.get(stub.url)
    visitor.wait(lambda: visitor.text("status-text").startswith("Busy"), "it does not say so")
    assert visitor.text("psnr") == "–"
    stub.full = False
    visitor.settle()
    assert visitor.text("psnr") != "–"
    assert visitor.hidden("error")


def test_a_key_is_asked_for_only_when_the_server_wants_one(visitor: Visitor, stub: Any) -> None:
    stub.key = "sesame"
    visitor.browser.get(stub.url)
    opened = "return document.getElementById('key-dialog').open"
    visitor.wait(lambda: visitor.run(opened), "no key was asked for")
    visitor.browser.find_element("id", "key").send_keys("sesame\n")
    visitor.settle()
    assert visitor.text("psnr") != "–"
    assert visitor.run(opened) is False
    visitor.run("sessionStorage.clear()")


def test_without_a_generator_its_panel_is_not_there(visitor: Visitor, stub: Any) -> None:
    stub.generators = False
    visitor.browser.get(stub.url)
    visitor.settle()
    assert visitor.hidden("generate")


def test_a_server_that_was_away_gets_the_picture_when_it_is_back(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    visitor.settle()
    stub.away = True
    visitor.give("drop", as_png(picture(48, 32)), "late.png")
    visitor.wait(lambda: visitor.text("status-text") == "No answer", "it does not say so")
    assert visitor.text("error-text") == "The server does not answer. Check that it is still running."
    stub.away = False
    visitor.settle()
    assert visitor.hidden("error")
    assert visitor.text("latent-shape") == "3 × 3 × 2"


def test_nothing_moves_and_nothing_overflows(visitor: Visitor, stub: Any) -> None:
    shift = """
        const done = arguments[arguments.length - 1];
        const observer = new PerformanceObserver(() => {});
        observer.observe({ type: "layout-shift", buffered: true });
        setTimeout(() => done(observer.takeRecords().reduce((sum, entry) => sum + entry.value, 0)), 50);
    """
    try:
        for width in (360, 768, 1280):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            visitor.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            stub.ready = False
            visitor.browser.get(stub.url)
            visitor.wait(lambda: visitor.text("status-text") == "Loading", "it does not say so")
            assert visitor.run("return document.documentElement.scrollWidth - innerWidth") <= 0
            stub.ready = True
            visitor.settle()
            assert visitor.browser.execute_async_script(shift) < 0.02
            assert visitor.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    finally:
        visitor.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_latents_colours_are_its_principal_components(visitor: Visitor, stub: Any) -> None:
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
          .then(({ principalScores }) => principalScores({ values, channels, positions }, 3))
          .then((scores) => done(scores.map((each) => [...each])))
          .catch((error) => done(String(error)));
    """
    scores = visitor.browser.execute_async_script(script, z.ravel().tolist(), channels, positions)
    centred = z - z.mean(axis=1, keepdims=True)
    expected = np.linalg.svd(centred, full_matrices=False)[2][:3] * np.sqrt(positions)  # unit variance
    for score, row in zip(np.asarray(scores), expected, strict=True):
        assert np.abs(score * np.sign(score @ row) - row).max() < 1e-3


def test_the_page_follows_dark_and_light(visitor: Visitor, stub: Any) -> None:
    visitor.browser.get(stub.url)
    paper = "return getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        visitor.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen[scheme] = visitor.run(paper)
    visitor.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert seen == {"light": "rgb(246, 243, 236)", "dark": "rgb(23, 22, 19)"}
    visitor.settle()
