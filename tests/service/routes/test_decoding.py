"""Tokens, steps and seeds are checked against the tokenizer before any body is read."""

from pathlib import Path
from typing import Any

import pytest

from service.engine.decoding import AS_IT_IS, Decoding
from service.errors import InvalidParameter
from service.registry import ServedTokenizer
from service.routes.decoding import check_tokens, cost_of, decoding_of
from service.schemas import DecodingQuery
from tokenizer.spec import LatentSpec

ROW = LatentSpec.image(4, 8, num_tokens=(2, 6))
DRAWN = ROW.model_copy(update={"num_steps": 4})
GRID = LatentSpec.image(4, 8)


def served(spec: LatentSpec) -> ServedTokenizer:
    return ServedTokenizer("rows", Path("nowhere"), spec, "id", None, None, 1)


def asked(spec: LatentSpec, **query: Any) -> Decoding:
    return decoding_of(DecodingQuery(**query), served(spec), max_steps=10)


def test_what_the_tokenizer_has_is_passed_on() -> None:
    assert asked(GRID) == AS_IT_IS
    assert asked(ROW, num_tokens=2) == Decoding(num_tokens=2)
    assert asked(DRAWN, num_tokens=6, num_steps=10, seed=0) == Decoding(6, 10, 0)
    assert check_tokens(None, GRID) is None


@pytest.mark.parametrize(
    ("spec", "query", "says"),
    [
        (GRID, {"num_tokens": 3}, "no row of tokens"),
        (ROW, {"num_tokens": 1}, "2 to 6 tokens, not 1"),
        (ROW, {"num_tokens": 7}, "2 to 6 tokens, not 7"),
        (ROW, {"num_steps": 3}, "draws nothing: leave num_steps out"),
        (GRID, {"seed": 3}, "draws nothing: leave seed out"),
        (DRAWN, {"num_steps": 11}, "up to 10"),
    ],
)
def test_what_it_has_not_is_refused_by_name(spec: LatentSpec, query: dict[str, int], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says) as caught:
        asked(spec, **query)
    assert caught.value.param == next(iter(query))


def test_admission_counts_steps_in_proportion() -> None:
    assert cost_of(1000, AS_IT_IS, DRAWN) == 1000
    assert cost_of(1000, Decoding(num_steps=8), DRAWN) == 2000
    assert cost_of(1000, Decoding(num_steps=1), DRAWN) == 250
