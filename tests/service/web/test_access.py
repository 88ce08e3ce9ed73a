"""Everyone can use the page: names, keys, fingers, small screens, colours, and nothing from outside."""

from __future__ import annotations

from typing import Any

import pytest

VIEWS = ("reconstruct", "generate", "interpolate", "jobs", "models")
# The name that a screen reader says, as far as this page uses the rules for it.
NAMELESS = """
    const named = (e) => e.getAttribute("aria-label")?.trim() || [...(e.labels ?? [])].some((l) => l.textContent.trim())
      || e.textContent.trim() || e.title?.trim();
    return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
      .filter((e) => e.checkVisibility() && !named(e)).map((e) => e.outerHTML.slice(0, 120));
"""
# What a finger must hit: controls themselves, or the label that stands for one; links in a sentence are exempt.
SMALL = """
    const box = (e) => (["radio", "checkbox"].includes(e.type) ? e.closest("label") ?? e : e).getBoundingClientRect();
    return [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
      .filter((e) => e.checkVisibility({ opacityProperty: false }) && !e.closest("p, .visually-hidden, .skip, .slider"))
      .filter((e) => !e.matches(".visually-hidden, .skip"))
      .map((e) => [e.outerHTML.slice(0, 120), box(e).width, box(e).height])
      .filter(([, width, height]) => height < 43.5 || width < 24);
"""
OUTSIDE = """
    return [...performance.getEntriesByType("resource")].map((e) => e.name)
      .filter((name) => new URL(name).origin !== location.origin && !name.startsWith("blob:"));
"""


def arrive(visitor: Any, stub: Any, view: str) -> None:
    stub.add_job(status="in_progress", progress=40, done=40, total=100, eta_s=70.0, queue_position=None)
    visitor.open(stub.url, f"#{view}")
    visitor.wait(lambda: visitor.text("status-text") == "Ready", "the server was never ready")
    visitor.wait(lambda: visitor.visible(f"#view-{view}"), "the view is not shown")
    if view == "reconstruct":
        visitor.settle()
    if view == "jobs":
        visitor.wait(lambda: visitor.visible(".job"), "no job is shown")


@pytest.mark.parametrize("view", VIEWS)
def test_everything_that_can_be_used_has_a_name(visitor: Any, stub: Any, view: str) -> None:
    arrive(visitor, stub, view)
    assert visitor.run(NAMELESS) == []
    assert visitor.run("return document.querySelectorAll('h1').length") == len(VIEWS)
    visible = "return [...document.querySelectorAll('h1')].filter((e) => e.checkVisibility()).length"
    assert visitor.run(visible) == 1


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_all_of_it_and_a_finger_hits_it(visitor: Any, stub: Any, view: str) -> None:
    visitor.screen(390, 844, phone=True)
    arrive(visitor, stub, view)
    assert visitor.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    assert visitor.run(SMALL) == []
    visitor.screen(340, 700, phone=True)
    assert visitor.run("return document.documentElement.scrollWidth - innerWidth") <= 0


def test_nothing_is_asked_of_anyone_else(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url)
    visitor.settle()
    for view in VIEWS:
        visitor.click(f'.views [href="#{view}"]')
        visitor.wait(lambda view=view: visitor.visible(f"#view-{view}"), "the view is not shown")
    visitor.click('.views [href="#generate"]')
    visitor.click("#generate-button")
    visitor.wait(lambda: "Seed" in visitor.text("generate-note"), "nothing was generated")
    assert visitor.run("return performance.getEntriesByType('resource').length") > 30
    assert visitor.run(OUTSIDE) == []
    script = """
        const done = arguments[0];
        addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("http://127.0.0.1:9/").then(() => done("sent"), () => {});
    """
    assert visitor.browser.execute_async_script(script) == "connect-src"
    visitor.browser.get_log("browser")  # the browser complains about what was just tried


def test_the_keyboard_alone_reconstructs(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url)
    visitor.settle()
    asked = len(stub.bodies("/v1/reconstruct"))
    visitor.tab_to(".skip")
    visitor.press("\ue007")  # Enter
    visitor.tab_to("#sample")
    ring = "return getComputedStyle(document.activeElement).outlineStyle"
    assert visitor.run(ring) == "solid"
    visitor.press("\ue007")
    visitor.wait(lambda: len(stub.bodies("/v1/reconstruct")) == asked + 1, "Enter did nothing")
    visitor.settle()
    visitor.tab_to("#split")
    visitor.press("\ue014", "\ue014")  # right, right
    assert visitor.value("split") == "52"
    visitor.tab_to("#zoom-in")
    visitor.press(" ")
    assert visitor.text("zoom-fit") == "1.5×"
    visitor.tab_to("#latent-download")


def test_the_keyboard_alone_generates(visitor: Any, stub: Any) -> None:
    visitor.open(stub.url)
    visitor.settle()
    visitor.tab_to('.views [href="#generate"]')
    visitor.press("\ue007")
    visitor.wait(lambda: visitor.visible("#view-generate"), "the view is not shown")
    heading = "return document.activeElement.id"
    assert visitor.run(heading) == "generate-title"
    visitor.tab_to("#seed")
    visitor.press(*"77")
    visitor.tab_to("#generate-button")
    visitor.press(" ")
    visitor.wait(lambda: visitor.text("generate-note").startswith("Seed 77"), "nothing was generated")
    visitor.tab_to(".result button.tile")
    visitor.press("\ue007")
    visitor.wait(lambda: visitor.visible("#result-dialog"), "the picture was not opened")
    visitor.press("\ue00c")  # Escape
    visitor.wait(lambda: not visitor.visible("#result-dialog"), "the picture was not closed")
    assert visitor.run("return document.activeElement.matches('.result button.tile')")


@pytest.mark.parametrize("view", VIEWS)
def test_what_changes_is_told_to_screen_readers(visitor: Any, stub: Any, view: str) -> None:
    arrive(visitor, stub, view)
    live = (
        "return [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map((e) => e.id)"
    )
    assert {"status", "announce", "error"} <= set(visitor.run(live))
    current = (
        "return [...document.querySelectorAll('.views [aria-current]')].map((e) => e.getAttribute('href'))"
    )
    assert visitor.run(current) == [f"#{view}"]


def test_the_page_follows_dark_and_light_and_the_reader(visitor: Any, stub: Any) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(246, 243, 236)", "rgb(23, 22, 19)"

    def system(scheme: str) -> None:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        visitor.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    visitor.open(stub.url)
    seen = {}
    for scheme in ("light", "dark"):
        system(scheme)
        seen[scheme] = visitor.run(paper)
    assert seen == {"light": light, "dark": dark}
    visitor.settle()
    visitor.click("#theme")  # from the system's choice to light
    assert visitor.run(paper) == light
    visitor.browser.refresh()
    assert visitor.run(paper) == light  # before any module has run
    visitor.settle()
    visitor.click("#theme")
    system("light")
    assert visitor.run(paper) == dark
    assert "dark" in visitor.run("return document.getElementById('theme').getAttribute('aria-label')")
    visitor.click("#theme")
    assert visitor.run(paper) == light
    visitor.run("localStorage.clear()")


def test_nothing_moves_and_nothing_overflows(visitor: Any, stub: Any) -> None:
    shift = """
        const done = arguments[arguments.length - 1];
        const observer = new PerformanceObserver(() => {});
        observer.observe({ type: "layout-shift", buffered: true });
        setTimeout(() => done(observer.takeRecords().reduce((sum, entry) => sum + entry.value, 0)), 50);
    """
    for width in (360, 768, 1280):
        visitor.screen(width, 900, phone=width < 500)
        stub.ready = False
        visitor.open(stub.url)
        visitor.wait(lambda: visitor.text("status-text") == "Loading", "it does not say so")
        assert visitor.run("return document.documentElement.scrollWidth - innerWidth") <= 0
        stub.ready = True
        visitor.settle()
        assert visitor.browser.execute_async_script(shift) < 0.02
        assert visitor.run("return document.documentElement.scrollWidth - innerWidth") <= 0
