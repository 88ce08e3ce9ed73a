"""Valid files are valid: what the fuzzer starts from is read by every parser."""

from random import Random

import pytest

from eval.fuzz.corpus import KINDS, MAKERS, Kind, form
from eval.fuzz.targets import read


@pytest.mark.parametrize("kind", KINDS)
def test_valid_files_are_read(kind: Kind) -> None:
    outcomes = [read(kind, MAKERS[kind](Random(f"{kind}{index}"))) for index in range(25)]
    allowed = {"ok", "bad_form"} if kind == "form" else {"ok"}  # a form may have another field alone
    assert set(outcomes) <= allowed
    assert outcomes.count("ok") > 15


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_pure_functions_of_their_generator(kind: Kind) -> None:
    assert MAKERS[kind](Random(7)) == MAKERS[kind](Random(7))
    assert len({MAKERS[kind](Random(index)).data for index in range(10)}) > 5


def test_a_form_without_a_file_is_among_them() -> None:
    assert "bad_form" in {read("form", form(Random(index))) for index in range(40)}
