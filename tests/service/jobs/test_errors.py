"""Errors of jobs: drawn with all others, and a range tells where the file ends."""

import service.errors
from service.jobs import errors
from service.jobs.errors import BadRange


def test_all_are_drawn_with_their_status() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and kind.__module__ == errors.__name__
    ]
    assert len(kinds) == 8
    assert all(f"{kind.__name__} {kind.status}" in (service.errors.__doc__ or "") for kind in kinds)


def test_bad_range_tells_the_size() -> None:
    assert BadRange("", details={"size": 12}).headers == {"content-range": "bytes */12"}
