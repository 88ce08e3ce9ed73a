"""What comes back is what went in, and it costs what the shares say; CompressAI's arithmetic agrees."""

import math
import sys

import numpy as np
import pytest

from eval.errors import NotComputedError
from eval.rate.coder import LARGEST_TABLE, TOTAL, Row, Table, decode, encode, ideal_bits, name, table


def drawn(shares: Table, count: int, seed: int = 0) -> Row:
    draw = np.random.default_rng(seed)
    return draw.choice(len(shares), size=count, p=shares / TOTAL).astype(np.int32)


def flat(count: int) -> Table:
    return table(np.zeros(count, np.int64), np.full(count, 1 / count), 1.0)


def test_tables_sum_to_their_total_and_forget_no_symbol() -> None:
    counts = np.array([10**6, 0, 3, 0], dtype=np.int64)
    found = table(counts, np.full(4, 0.25), 2.0)
    assert found.sum() == TOTAL
    assert found.min() >= 1
    expected = (counts + 0.5) / (counts.sum() + 2)
    assert found / TOTAL == pytest.approx(expected, abs=4 / TOTAL)
    largest = flat(LARGEST_TABLE)
    assert set(largest.tolist()) == {TOTAL // LARGEST_TABLE}


@pytest.mark.parametrize("count", [2, 5, 300, 2**16])
def test_rows_come_back_bit_for_bit(count: int) -> None:
    counts = np.random.default_rng(0).integers(0, 50, count)
    tables = [table(counts, np.full(count, 1 / count), count / 2), flat(2), flat(count)]
    rows = [drawn(tables[0], 500), drawn(tables[1], 3), np.arange(count - 2, count, dtype=np.int32)]
    words = encode(rows, tables)
    assert words.dtype == np.uint32
    for sent, got in zip(rows, decode(words, tables, [500, 3, 2]), strict=True):
        assert np.array_equal(sent, got)


def test_a_stream_costs_what_the_shares_say() -> None:
    """The closed form is the sum of -log2; a coder needs at most a few words more."""
    shares = table(np.array([700, 200, 90, 10]), np.full(4, 0.25), 2.0)
    row = drawn(shares, 20_000)
    ideal = ideal_bits([row], [shares])
    assert ideal == pytest.approx(-sum(math.log2(shares[symbol] / TOTAL) for symbol in row))
    assert ideal <= 32 * len(encode([row], [shares])) <= ideal + 64 + 1e-3 * ideal
    assert ideal_bits([drawn(flat(256), 100)], [flat(256)]) == pytest.approx(800)


def test_compressai_counts_the_same_bits() -> None:
    """Recorded from compressai 1.2.8, which asks for numpy below 2 and cannot be installed beside us.

    ``_CXX.pmf_to_quantized_cdf`` of a Laplace distribution of scale 2 over -8 to 8 and a tail of 1e-9, 16 bits; then
    600 symbols by ``ans.RansEncoder.encode_with_indexes``: 268 bytes, and 2100.1575144070916 bits as the sum of -log2
    of the shares in its table, the estimate that its models report.
    """
    edges = [
        0,
        297,
        788,
        1598,
        2934,
        5137,
        8769,
        14757,
        24629,
        40905,
        50777,
        56765,
        60397,
        62600,
        63936,
        64746,
    ]
    edges += [65237, 65535, 65536]
    theirs = (np.diff(edges) * (TOTAL // 2**16)).astype(np.uint32)
    symbols = [(i * i * 7 + i * 3) % 5 - (i % 3) * (i % 4) for i in range(600)]
    row = (np.clip(symbols, -8, 8) + 8).astype(np.int32)
    assert ideal_bits([row], [theirs]) == pytest.approx(2100.1575144070916, abs=1e-8)
    words = encode([row], [theirs])
    assert 2100 <= words.nbytes * 8 <= 8 * 268
    shares = np.array([math.exp(-abs(k) / 2.0) for k in range(-8, 9)])
    shares = np.append(shares / shares.sum(), 1e-9)
    ours = table(np.zeros(18, np.int64), shares / shares.sum(), 1.0)
    assert ideal_bits([row], [ours]) == pytest.approx(2100.1575144070916, rel=1e-4)


def test_a_wrong_table_is_noticed() -> None:
    good, bad = (
        table(np.array([900, 100]), np.full(2, 0.5), 1.0),
        table(np.array([1, 999]), np.full(2, 0.5), 1.0),
    )
    row = drawn(good, 5000)
    words = encode([row], [good])
    with pytest.raises(ValueError, match="other tables"):
        decode(words, [bad], [10])
    with pytest.raises(ValueError, match="2 to 65536"):
        flat(1)


def test_without_the_package_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "constriction" in name()
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(NotComputedError, match="constriction"):
        name()
