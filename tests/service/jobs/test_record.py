"""Records: ids nobody guesses, percentages that tell the end only at the end."""

import re

import pytest

from service.jobs.record import FINISHED, STATUS, Progress, new_id


def test_ids_are_safe_in_paths_and_differ() -> None:
    ids = {new_id("job") for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"job_[0-9a-f]{24}", found) for found in ids)


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, 0, 0), (0, 7, 0), (1, 3, 33), (7, 7, 99), (9, 7, 99)]
)
def test_only_the_end_is_a_hundred(done: int, total: int, percent: int) -> None:
    assert Progress(done, total).percent == percent


def test_every_state_has_a_status_of_its_own() -> None:
    assert len(set(STATUS.values())) == len(STATUS)
    assert set(STATUS) - FINISHED == {"queued", "running"}
