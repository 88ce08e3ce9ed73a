"""Keys: compared whole, whichever of several it is."""

import hmac

import pytest

from service.keys import is_known
from service.settings import Settings

HASHES = Settings(api_keys="alpha,beta,gämma").key_hashes


@pytest.mark.parametrize("key", ["alpha", "beta", "gämma"])
def test_every_key_is_known(key: str) -> None:
    assert is_known(key, HASHES)


@pytest.mark.parametrize("key", ["", "alph", "alphaa", "ALPHA", "alpha,beta", "delta"])
def test_others_are_not(key: str) -> None:
    assert not is_known(key, HASHES)


def test_every_key_is_compared_even_after_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert is_known("alpha", HASHES)
    assert tuple(compared) == HASHES
