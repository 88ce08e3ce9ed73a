"""Surroundings: plain data, which no job can change."""

from dataclasses import FrozenInstanceError

import pytest

from service.jobs.surroundings import Surroundings
from tests.service.jobs.conftest import no_app


def test_jobs_cannot_change_it() -> None:
    around = Surroundings(no_app, None, {}, lambda: "http://a", "key", True, lambda: False, lambda: False)  # type: ignore[arg-type]
    assert (around.url(), around.is_ready()) == ("http://a", False)
    with pytest.raises(FrozenInstanceError):
        around.key = "another"  # type: ignore[misc]
