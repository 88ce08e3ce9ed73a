"""Videos are refused with statuses of their own, drawn with all others."""

from service import errors
from service.video_errors import NoClips, NoVideo, TooMuchVideo, TruncatedVideo


def test_statuses_and_codes() -> None:
    kinds = (NoVideo, TruncatedVideo, TooMuchVideo, NoClips)
    assert [(kind.status, kind.code) for kind in kinds] == [
        (415, "no_video"),
        (400, "truncated_video"),
        (413, "too_much_video"),
        (422, "no_clips"),
    ]
    for kind in kinds:
        assert f"{kind.__name__} {kind.status}" in (errors.__doc__ or "")
