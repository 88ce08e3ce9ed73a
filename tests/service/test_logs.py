"""Lines for people and for machines, each with the id of its request."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service import logs


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(form: logs.Format, monkeypatch: pytest.MonkeyPatch, level: str = "info") -> list[str]:
    """What three log calls write."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(level, form, "worker")
    logger = logging.getLogger("service.test")
    logger.debug("not shown")
    token = logs.request_id_now.set("report-7")
    logger.info("two\nlines", extra={"facts": {"status": 200, "model": "tiny"}})
    logs.request_id_now.reset(token)
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("failed")
    return stream.getvalue().splitlines()


@pytest.mark.usefixtures("restored")
def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = [json.loads(line) for line in lines("json", monkeypatch)]
    assert (first["level"], first["logger"], first["process"]) == ("info", "service.test", "worker")
    assert (first["message"], first["request_id"]) == ("two\nlines", "report-7")
    assert (first["status"], first["model"]) == (200, "tiny")
    assert first["time"].endswith("+00:00")
    assert "request_id" not in second
    assert "KeyError: 'lost'" in second["trace"]


@pytest.mark.usefixtures("restored")
def test_text_names_process_and_request(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines("text", monkeypatch)
    assert shown[0] == "INFO: worker: two"
    assert shown[1] == "lines [report-7]"
    assert "KeyError: 'lost'" in shown[-1]


@pytest.mark.usefixtures("restored")
def test_the_level_is_kept_and_configuring_again_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure("info", "text")
    shown = lines("text", monkeypatch, level="error")
    assert shown[0] == "ERROR: worker: failed"
    assert sum("failed" in line for line in shown) == 1
