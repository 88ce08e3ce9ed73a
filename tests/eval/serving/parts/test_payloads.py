"""Bodies of the sizes that are named, in and out."""

from pathlib import Path

import pytest

from eval.serving.parts.payloads import payloads
from eval.serving.session import Session


def test_three_sizes_in_and_out(session: Session) -> None:
    cases = payloads(session)
    assert [case.title for case in cases] == [
        f"{size} {way}" for size in ("8 KB", "192 KB", "3 MB") for way in ("in", "out")
    ]
    for case, size in zip(cases[::2], (8e3, 192 * 1024, 3 * 2**20), strict=True):
        assert case.num_bytes == pytest.approx(size, rel=0.02)
        body = Path(case.requests[0].body or "").stat().st_size
        assert body == case.num_bytes + 128  # the npy header
    assert all(case.work.tokenizer == session.free and case.work.output == "npy" for case in cases)
