"""Examples: each is what its schema says."""

import pytest

from service.jobs import shapes
from service.jobs.examples import EXAMPLES

CASES = [(name, case["value"]) for name, cases in EXAMPLES.items() for case in cases.values()]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[name for name, _ in CASES])
def test_fits_its_schema(name: str, value: dict[str, object]) -> None:
    shown = getattr(shapes, name).model_validate(value).model_dump(mode="json", exclude_unset=True)
    assert shown == value
