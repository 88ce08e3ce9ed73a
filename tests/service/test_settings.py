"""Settings: safe by default, explained when refused, every one documented."""

import re
from pathlib import Path

import pytest

import service
from service.settings import Settings, parse_models

README = Path(service.__file__).with_name("README.md")


def test_defaults_listen_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TESSERA_{name.upper()}", raising=False)
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.is_loopback
    assert not settings.key_hashes


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "127.0.0.1.example.org"])
def test_beyond_loopback_asks_for_keys_or_consent(host: str) -> None:
    with pytest.raises(ValueError, match="TESSERA_API_KEYS=.*TESSERA_ALLOW_OPEN=1"):
        Settings(host=host, api_keys=" , ", allow_open=False)
    assert Settings(host=host, api_keys="secret").key_hashes
    assert Settings(host=host, allow_open=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_neither(host: str) -> None:
    assert Settings(host=host).is_loopback


def test_keys_are_split_and_not_shown() -> None:
    settings = Settings(api_keys="alpha, beta,,")
    assert len(settings.key_hashes) == 2
    assert "alpha" not in repr(settings)


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_MAX_PIXELS", "1000")
    monkeypatch.setenv("TESSERA_DEVICE", "cuda:1")
    assert (Settings().max_pixels, Settings().device) == (1000, "cuda:1")


@pytest.mark.parametrize(("name", "value"), [("device", "gpu"), ("port", -1), ("max_pixels", 10**9)])
def test_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.model_validate({name: value})


def test_models_are_pairs() -> None:
    assert parse_models("a=/x, b-1=/y=z,") == (("a", "/x"), ("b-1", "/y=z"))
    assert parse_models("") == ()


@pytest.mark.parametrize("text", ["a", "=x", "a=", "a b=x", "a/b=x"])
def test_other_models_are_explained(text: str) -> None:
    with pytest.raises(ValueError, match="TESSERA_MODELS"):
        Settings(models=text)


def test_readme_documents_every_setting_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `TESSERA_(\w+)` \| (.*?) \|", README.read_text(), re.MULTILINE))
    assert rows.keys() == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = "" if field.default is False else str(field.default)
        assert rows[name.upper()].strip("` ") == default, name


def test_readme_describes_them_as_the_settings_do() -> None:
    text = README.read_text()
    for field in Settings.model_fields.values():
        assert field.description is not None
        assert field.description in text
