"""What reads: refusals come back as codes, everything else comes through as it was raised."""

import pytest

from eval.fuzz import targets
from eval.fuzz.corpus import Body
from service.errors import InternalError, NotAnImage


def test_a_refusal_is_its_code() -> None:
    assert targets.read("png", Body(b"no picture")) == "not_an_image"
    assert targets.read("npy", Body(b"\x93NUMPY")) == "not_a_tensor"
    assert targets.read("json", Body(b"{")) == "invalid_parameter"
    assert targets.read("form", Body(b"", {"content-type": "text/plain"})) == "bad_form"


@pytest.mark.parametrize(
    "failure", [RuntimeError("broken"), MemoryError(), InternalError("broken"), NotAnImage("")]
)
def test_a_failure_comes_through(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    """A refusal of the server's own making, or without a sentence, is one as well."""

    def broken(_: Body) -> None:
        raise failure

    monkeypatch.setitem(targets.TARGETS, "png", broken)
    with pytest.raises(type(failure)):
        targets.read("png", Body(b""))
