"""Mutations: deterministic, bounded in size, and each does something."""

from random import Random

import pytest

from eval.fuzz.mutations import MUTATIONS, Mutation, mutate

BODY = bytes(range(256)) * 4


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@pytest.mark.parametrize("body", [BODY, b"\0"], ids=["long", "one byte"])
def test_it_changes_bytes_and_stays_small(mutation: Mutation, body: bytes) -> None:
    results = set()
    for seed in range(20):
        data = bytearray(body)
        mutation(data, Random(seed))
        assert len(data) <= len(body) + 4096
        results.add(bytes(data))
    assert mutation.__name__ == "swap" or results - {body}


def test_the_same_generator_does_the_same_harm() -> None:
    assert mutate(BODY, Random(3)) == mutate(BODY, Random(3))
    assert len({mutate(BODY, Random(seed))[0] for seed in range(50)}) > 40


def test_nothing_is_done_to_nothing() -> None:
    assert mutate(b"", Random(0)) == (b"", [])
