"""Which buckets are used: those that make a row cheaper, that memory holds, and that nobody waits too long for."""

import pytest

from service.engine.costs import PAYS, Costs, buckets_up_to, fitting, parse_buckets

KIND = ("encode", "tiny")
PIXELS = 64 * 64


def made(
    seconds: dict[int, float], *, chosen: bool = True, max_pixels: int = 10**9, max_seconds: float = 10.0
) -> Costs:
    costs = Costs(buckets_up_to(16), chosen=chosen, max_pixels=max_pixels, max_seconds=max_seconds)
    for bucket, spent in seconds.items():
        costs.set(KIND, PIXELS, bucket, spent)
    return costs


FLAT = dict.fromkeys((1, 2, 4, 8, 16), 1.0)
LINEAR = {bucket: float(bucket) for bucket in (1, 2, 4, 8, 16)}


def test_a_network_that_is_not_filled_takes_all_and_a_filled_one_takes_one() -> None:
    assert made(FLAT).paying(KIND, PIXELS) == (1, 2, 4, 8, 16)
    assert made(LINEAR).paying(KIND, PIXELS) == (1,)
    assert made({1: 1.0, 2: 2 * PAYS + 0.01}).paying(KIND, PIXELS) == (1,)
    assert made({1: 1.0, 2: 2 * PAYS - 0.01}).paying(KIND, PIXELS) == (1, 2)


def test_a_bucket_that_does_not_pay_hides_no_larger_one_that_does() -> None:
    assert made({1: 1.0, 2: 2.1, 4: 2.0, 8: 3.9}).paying(KIND, PIXELS) == (1, 4)


def test_what_was_not_measured_does_not_pay_unless_nothing_was() -> None:
    assert made({1: 1.0, 2: 1.0}).paying(KIND, PIXELS) == (1, 2)
    assert made({}).paying(KIND, PIXELS) == (1, 2, 4, 8, 16)


def test_fixed_buckets_are_used_whatever_they_cost() -> None:
    assert made(LINEAR, chosen=False).paying(KIND, PIXELS) == (1, 2, 4, 8, 16)


def test_memory_and_patience_cap_the_batch() -> None:
    assert made(FLAT, max_pixels=4 * PIXELS).paying(KIND, PIXELS) == (1, 2, 4)
    assert made(FLAT, max_pixels=4 * PIXELS).paying(KIND, 100 * PIXELS) == (1,)
    slow = {bucket: 0.5 * bucket**0.5 for bucket in (1, 2, 4, 8, 16)}
    assert made(slow, max_seconds=1.0).paying(KIND, PIXELS) == (1, 2, 4)


def test_after_memory_ran_short_batches_are_smaller() -> None:
    costs = made(FLAT)
    costs.too_much(KIND, PIXELS, 8)
    assert costs.paying(KIND, PIXELS) == (1, 2, 4)
    assert costs.paying(KIND, 2 * PIXELS) == (1, 2)
    assert costs.paying(("decode", "tiny"), PIXELS) == (1, 2, 4, 8, 16)


def test_other_sizes_are_scaled_from_the_nearest_one() -> None:
    costs = made({1: 2.0})
    costs.set(KIND, 16 * PIXELS, 1, 64.0)
    assert costs.seconds(KIND, 2 * PIXELS, 1) == pytest.approx(4.0)
    assert costs.seconds(KIND, 8 * PIXELS, 1) == pytest.approx(32.0)
    assert costs.seconds(KIND, PIXELS, 2) is None


def test_the_bucket_for_what_waits_is_the_one_that_does_most_a_second() -> None:
    half = {bucket: 1.0 + bucket / 2 for bucket in (1, 2, 4, 8, 16)}
    costs = made(half)
    assert [costs.best(KIND, PIXELS, rows) for rows in (1, 2, 3, 4, 7, 8, 16, 100)] == [
        1,
        2,
        4,
        4,
        8,
        8,
        16,
        16,
    ]
    # five rows: a padded pass of eight takes 5 s, that is one a second; four take 3 s
    assert costs.best(KIND, PIXELS, 5) == 4
    assert [made(FLAT).best(KIND, PIXELS, rows) for rows in (1, 3, 5)] == [1, 4, 8]  # no padding for nothing
    assert made({}).best(KIND, PIXELS, 5) == 8


def test_real_passes_refine_what_was_measured() -> None:
    costs = made({1: 1.0})
    for _ in range(100):
        costs.observe(KIND, PIXELS, 1, 3.0)
    assert costs.seconds(KIND, PIXELS, 1) == pytest.approx(3.0, rel=0.01)
    costs.observe(KIND, PIXELS, 2, 1.0)  # never measured: one real pass says too little
    assert costs.seconds(KIND, PIXELS, 2) is None


def test_seconds_per_pixel_are_those_of_the_best_bucket() -> None:
    assert made(FLAT).seconds_per_pixel(KIND) == pytest.approx(1.0 / (16 * PIXELS))
    assert made({}).seconds_per_pixel(KIND) is None
    gone = made(FLAT)
    gone.forget(KIND)
    assert gone.seconds_per_pixel(KIND) is None


def test_the_setting() -> None:
    assert buckets_up_to(16) == (1, 2, 4, 8, 16)
    assert buckets_up_to(3) == (1, 2)
    assert parse_buckets("auto", 8) == ((1, 2, 4, 8), True)
    assert parse_buckets("4,1", 8) == parse_buckets("4", 8) == ((1, 4), False)
    for wrong in ("3", "16", "", "a", "1,,2"):
        with pytest.raises(ValueError, match="powers of two up to TESSERA_MAX_BATCH=8"):
            parse_buckets(wrong, 8)
    assert [fitting(rows, (1, 4)) for rows in (1, 2, 4, 9)] == [1, 4, 4, 4]
