"""The record survives JSON; promises are judged in the direction of their column."""

import json
import math
from collections.abc import Callable

import pytest

from eval.compare.record import Comparison, MemberRow, PromiseRow, Values
from eval.compare.settings import PromiseConfig

Make = Callable[..., Comparison]


def test_rows_stand_by_bits_and_references_after_their_members(comparison: Make) -> None:
    names = [item.label if isinstance(item, MemberRow) else item.kind for item in comparison().rows()]
    assert names == ["codes", "floor", "jpeg", "plain", "<broken>"]


def test_json_comes_back_and_holds_no_nan(comparison: Make) -> None:
    made = comparison()
    broken = made.members[0].model_copy(update={"numbers": Values(values={"psnr": math.inf})})
    made = made.model_copy(update={"members": (broken,)})
    text = made.to_text()
    assert json.loads(text)["members"][0]["numbers"]["values"]["psnr"] == "inf"
    assert Comparison.parse(json.loads(text)) == made


def test_columns_are_those_with_numbers_in_their_order(comparison: Make) -> None:
    assert comparison().columns() == [
        "bits_per_pixel", "tokens", "psnr", "gain", "codebook_size", "codebook_use", "latent_rms", "images",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("improves", "with_it", "without", "kept"),
    [
        ("psnr", 25.0, 24.0, True),
        ("psnr", 24.0, 24.0, False),
        ("equivariance_rot90", 0.1, 0.3, True),
        ("sharpness", 1.3, 0.8, False),
        ("codebook_use", None, 0.3, None),
        ("psnr", math.inf, 30.0, None),
    ],
)
def test_promises(improves: str, with_it: float | None, without: float, kept: bool | None) -> None:
    def member(label: str, value: float | None) -> MemberRow:
        values = {} if value is None else {improves: value}
        return MemberRow(label=label, preset=label, status="done", numbers=Values(values=values))

    rows = {"a": member("a", with_it), "b": member("b", without)}
    judged = PromiseRow.of(PromiseConfig(member="a", against="b", improves=improves), rows)
    assert judged.kept is kept
    assert judged.verdict() == {True: "yes", False: "no", None: "not measured"}[kept]
