"""Keys: hashed, compared whole whichever of several it is, with limits, from a file that may change."""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

import pytest

from service import keys
from service.errors import BadKey, InvalidParameter, NotAllowed
from service.keys import Caller, Keys, KeysFile, key_of, new_key
from service.settings import Settings

HASHES = Settings(api_keys="alpha,beta,gämma").key_hashes


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


def make(path: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """A key by the command, as its one line of output."""
    assert keys.main(["new", *arguments, "--file", str(path)]) == 0
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("key", ["alpha", "beta", "gämma"])
def test_every_key_is_known(key: str) -> None:
    assert Keys(HASHES, None).find(key.encode()) is not None


@pytest.mark.parametrize("key", ["", "alph", "alphaa", "ALPHA", "alpha,beta", "delta"])
def test_others_are_not(key: str) -> None:
    assert Keys(HASHES, None).find(key.encode()) is None


def test_every_key_is_compared_even_after_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert Keys(HASHES, None).find(b"alpha") is not None
    assert tuple(compared) == HASHES


def test_a_server_without_keys_asks_for_none() -> None:
    assert not Keys((), None).required
    assert Keys(HASHES, None).required


def test_a_new_key_opens_and_its_file_does_not_tell_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = make(path, "lab", "--pixels-per-minute", "5000", "--priority", "batch", capsys=capsys)
    assert len(key) > 40
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    record = json.loads(path.read_text())["keys"][0]
    assert record["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    found = Keys((), path, requests_per_minute=7, pixels_per_minute=9).find(key.encode())
    assert found == Caller("lab", 7, 5000, "batch", None)


def test_two_keys_are_never_alike() -> None:
    assert len({new_key("a")[0] for _ in range(100)}) == 100


def test_list_shows_no_hash_and_remove_closes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(path, "one", capsys=capsys)
    second = make(path, "two", "--max-images", "3", capsys=capsys)
    assert keys.main(["list", "--file", str(path)]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in shown] == ["one", "two"]
    assert shown[1]["max_images"] == 3
    assert not any("sha256" in record for record in shown)
    assert keys.main(["remove", "one", "--file", str(path)]) == 0
    found = Keys((), path)
    assert found.find(first.encode()) is None
    assert found.find(second.encode()) is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "lab"], "remove it first"),
        (["new", "a b"], "name"),
        (["new", "x", "--max-images", "0"], "max_images"),
        (["remove", "gone"], "'gone'"),
    ],
)
def test_mistakes_are_explained(
    path: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(path, "lab", capsys=capsys)
    before = path.read_bytes()
    assert keys.main([*arguments, "--file", str(path)]) == 2
    assert sentence in capsys.readouterr().err
    assert path.read_bytes() == before


def test_the_command_asks_where_the_keys_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TESSERA_KEYS_FILE", raising=False)
    assert keys.main(["list"]) == 2
    assert "TESSERA_KEYS_FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "keys.json"),
        ('{"keys": [{"name": "a"}]}', "sha256"),
        ('{"keys": [], "more": 1}', "unknown key"),
        (
            json.dumps({"keys": [{"name": "a", "sha256": "0" * 64}, {"name": "a", "sha256": "1" * 64}]}),
            "twice",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        Keys((), path)


def test_a_missing_file_is_refused_with_the_command_that_makes_it(path: Path) -> None:
    with pytest.raises(ValueError, match="python -m service.keys new NAME"):
        Keys((), path)


def test_an_empty_file_closes_the_server(path: Path) -> None:
    KeysFile().write(path)
    found = Keys((), path)
    assert found.required
    assert found.find(b"alpha") is None


def test_a_running_server_sees_keys_come_and_go(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    first = make(path, "one", capsys=capsys)
    found = Keys((), path, clock=clock)
    second = make(path, "two", capsys=capsys)
    assert found.find(second.encode()) is None  # not looked at yet
    clock.now += 3
    assert found.find(second.encode()) is not None
    assert keys.main(["remove", "one", "--file", str(path)]) == 0
    clock.now += 3
    assert found.find(first.encode()) is None


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_file_that_breaks_leaves_the_keys_as_they_were(
    path: Path, harm: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    key = make(path, "one", capsys=capsys)
    found = Keys((), path, clock=clock)
    if harm == "gone":
        os.unlink(path)
    else:
        path.write_text("{")
    clock.now += 3
    assert found.find(key.encode()) is not None
    assert "stay as they were" in caplog.text


def basic(text: bytes) -> str:
    return f"Basic {base64.b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, None),
        ("", None),
        ("Bearer alpha", b"alpha"),
        ("bearer   alpha ", b"alpha"),
        (basic(b":alpha"), b"alpha"),
        (basic(b"anyone:al:pha"), b"al:pha"),
        ("Bearer g\xc3\xa4mma", "gämma".encode()),  # as a header arrives: one character a byte
    ],
)
def test_the_key_of_a_header(header: str | None, key: bytes | None) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Basic alpha", "Basic ????", basic(b"alpha"), basic(b"alpha:"), "Token alpha", "alpha"],
)
def test_other_headers_are_explained(header: str) -> None:
    with pytest.raises(BadKey, match="Bearer KEY"):
        key_of(header)


def test_a_key_for_batch_work_runs_at_batch() -> None:
    caller = Caller("nightly", priority="batch")
    assert caller.allow_priority(None) == "batch"
    assert caller.allow_priority("batch") == "batch"
    with pytest.raises(NotAllowed, match="batch only"):
        caller.allow_priority("interactive")
    assert Caller().allow_priority(None) == "interactive"
    assert Caller().allow_priority("batch") == "batch"


def test_a_key_may_be_held_to_fewer_pictures() -> None:
    Caller(max_images=4).allow_images(4)
    Caller().allow_images(1000)
    with pytest.raises(InvalidParameter, match="5 pictures, this key may ask for 4"):
        Caller(max_images=4).allow_images(5)
