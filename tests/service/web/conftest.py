"""A browser, a visitor who uses it, and the stub server of `stub_server.py`."""

from __future__ import annotations

import base64
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.service.web.stub_model import png
from tests.service.web.stub_server import Stub, StubHandler

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


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A running stub server; its ``url`` ends in a slash."""
    answers = Stub()
    handler = type("Handler", (StubHandler,), {"stub": answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    answers.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield answers
    answers.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
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

    def open(self, url: str, view: str = "") -> None:
        """The page, from its first line on, in the view that the part behind # names."""
        self.browser.get("about:blank")  # another # alone would not load anything
        self.browser.get(f"{url}{view}")

    def visible(self, selector: str) -> bool:
        return bool(
            self.run("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector)
        )

    def value(self, name: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).value", name))

    def press(self, *keys: str) -> None:
        """Types on the keyboard, wherever the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def tab_to(self, selector: str) -> None:
        """Presses Tab until the focus is there."""
        for _ in range(80):
            if self.run("return document.activeElement.matches(arguments[0])", selector):
                return
            self.press("\ue004")
        raise AssertionError(f"Tab never came to {selector}")

    def screen(self, width: int, height: int, *, phone: bool = False) -> None:
        """A screen of this size; a phone's is touched and turned by fingers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        touch = {"enabled": phone, "maxTouchPoints": 5 if phone else 1}
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)

    def module(self, script: str, *arguments: object) -> Any:
        """What an async function body returns; it may ``await import("/name.js")``."""
        code = f"""
            const given = [...arguments];
            const done = given.pop();
            (async (...args) => {{ {script} }})(...given).then(done, (error) => done({{ error: String(error) }}));
        """
        return self.browser.execute_async_script(code, *arguments)

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

    def picture(self, height: int, width: int) -> np.ndarray:
        """A smooth picture with some noise, (H, W, 3) uint8."""
        rows, columns = np.mgrid[0:height, 0:width]
        smooth = np.stack([rows * 255 / height, columns * 255 / width, 128 + 0 * rows], axis=-1)
        noise = np.random.default_rng(0).normal(0, 20, smooth.shape)
        return np.clip(smooth + noise, 0, 255).astype(np.uint8)

    def as_png(self, pixels: np.ndarray) -> bytes:
        return png(pixels)


@pytest.fixture
def visitor(browser: Chrome, stub: Any) -> Iterator[Visitor]:
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    yield Visitor(browser)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    complaints = [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]
    # Answers of 4xx and 5xx are logged by the browser itself; anything else is a fault of the page.
    assert [message for message in complaints if "Failed to load resource" not in message] == []
    browser.get("about:blank")
