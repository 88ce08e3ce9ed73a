"""Who may come in, in the application itself: keys of both kinds, rates, draining, in this order."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from service import keys
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import models_setting
from tests.service.test_app import ask
from tests.service.test_metrics import value

Make = Callable[..., FastAPI]


@pytest.fixture
def make(models: dict[str, Path]) -> Make:
    def build(**settings: Any) -> FastAPI:
        return create_app(Settings(models=models_setting(models), **settings))

    return build


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def basic(key: str, user: str = "") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}


def code(app: FastAPI, **options: Any) -> tuple[int, str]:
    """Status and error code of GET /v1/models."""
    answer = ask(app, "GET", "/v1/models", **options)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def test_an_open_server_asks_for_nothing(make: Make) -> None:
    assert code(make()) == (200, "")


@pytest.mark.parametrize("headers", [bearer("alpha"), basic("alpha"), basic("alpha", "anyone")])
def test_a_key_comes_as_bearer_or_as_the_password_of_basic(make: Make, headers: dict[str, str]) -> None:
    assert code(make(api_keys="alpha"), headers=headers) == (200, "")


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({}, "no_key"),
        (bearer("beta"), "bad_key"),
        (basic("beta"), "bad_key"),
        (basic("", "alpha"), "bad_key"),
    ],
)
def test_others_stay_outside(make: Make, headers: dict[str, str], refusal: str) -> None:
    app = make(api_keys="alpha")
    assert code(app, headers=headers) == (401, refusal)
    assert value(app.state.service.metrics, "tessera_rejected_total", reason=refusal) == 1


def test_keys_of_the_file_and_of_the_setting_both_open(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.json"
    assert keys.main(["new", "lab", "--requests-per-minute", "2", "--file", str(path)]) == 0
    key = capsys.readouterr().out.strip()
    app = make(api_keys="alpha", keys_file=str(path), host="0.0.0.0")
    assert code(app, headers=bearer("alpha")) == (200, "")
    assert code(app, headers=bearer(key)) == (200, "")
    assert code(app, headers=basic(key)) == (200, "")
    assert code(app, headers=bearer(key)) == (429, "rate_limited")
    assert code(app, headers=bearer("alpha")) == (200, "")  # the other key's rate is its own
    assert code(app) == (401, "no_key")


def test_a_refusal_by_rate_says_when_to_come_again(make: Make) -> None:
    app = make(api_keys="alpha", requests_per_minute=1)
    first = ask(app, "GET", "/v1/models", headers=bearer("alpha"))
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    answer = ask(app, "GET", "/v1/models", headers=bearer("alpha"))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert 0 < int(answer.headers["retry-after-ms"]) <= 60_000
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-request-id"]
    assert ask(app, "GET", "/health/live").status_code == 200


def test_an_address_is_held_to_its_rate_whatever_its_keys(make: Make) -> None:
    app = make(api_keys="alpha,beta", address_requests_per_minute=2)
    assert code(app, headers=bearer("wrong")) == (401, "bad_key")  # guessing costs, too
    assert code(app, headers=bearer("alpha")) == (200, "")
    assert code(app, headers=bearer("beta")) == (429, "rate_limited")


def test_a_key_for_batch_work_may_not_ask_for_more(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    assert keys.main(["new", "nightly", "--priority", "batch", "--file", str(path)]) == 0
    key = capsys.readouterr().out.strip()
    app = make(keys_file=str(path))
    monkeypatch.setattr(app.state.service.engine, "require_ready", lambda: None)
    sent = bearer(key) | {"x-priority": "interactive"}
    answer = ask(app, "POST", "/v1/generate", json={"label": 0}, headers=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_a_draining_server_takes_no_new_work_and_still_answers(make: Make) -> None:
    app = make()
    app.state.service.drain.begin()
    answer = ask(app, "POST", "/v1/encode", content=b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert answer.headers["retry-after"] == "5"
    ready = ask(app, "GET", "/health/ready")
    assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
    assert ask(app, "GET", "/health/live").status_code == 200
    assert code(app) == (200, "")


def test_a_silent_worker_makes_the_server_unhealthy(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(heartbeat_timeout_s=30)
    engine = app.state.service.engine
    monkeypatch.setattr(type(engine), "pulse_age_s", 29.0)
    assert ask(app, "GET", "/health/live").status_code == 200
    monkeypatch.setattr(type(engine), "pulse_age_s", 31.0)
    answer = ask(app, "GET", "/health/live")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "worker_silent")
    assert answer.headers["retry-after"] == "10"
