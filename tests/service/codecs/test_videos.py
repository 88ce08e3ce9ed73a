"""A video is told from a picture by its first bytes, and refused by its header with what to do."""

import numpy as np
import pytest

from service.codecs.videos import inspect_video, is_video, refused
from service.errors import ServiceError
from service.video_errors import NoVideo, TooMuchVideo, TruncatedVideo
from tests.service.conftest import as_file, picture
from tokenizer.data.video_header import DamagedVideo, Limits, NotAVideo, NoVideoStream, VideoTooLarge
from tokenizer.data.video_writer import to_mp4

MP4 = to_mp4(np.zeros((3, 16, 16, 3), np.uint8), 25)


def test_what_is_a_video() -> None:
    assert is_video(MP4, animations=False)
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "BMP"):
        assert not is_video(as_file(picture(8, 8), kind), animations=True)
    gif = as_file(picture(8, 8), "GIF")
    assert is_video(gif, animations=True)
    assert not is_video(gif, animations=False)
    assert not is_video(b"", animations=True)


def test_headers_within_limits() -> None:
    assert inspect_video(MP4, Limits(frames=3)).frames == 3
    with pytest.raises(TooMuchVideo, match="3 frames.* send a shorter") as caught:
        inspect_video(MP4, Limits(frames=2))
    assert caught.value.details == {"max_frames": 2}
    with pytest.raises(TruncatedVideo, match="send the whole file"):
        inspect_video(MP4[:-20], Limits())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VideoTooLarge("long", "seconds", 60), TooMuchVideo),
        (DamagedVideo("damaged"), TruncatedVideo),
        (NoVideoStream("sound"), NoVideo),
        (NotAVideo("words"), NoVideo),
    ],
)
def test_every_refusal_has_its_error(error: Exception, kind: type[ServiceError]) -> None:
    told = refused(error)  # type: ignore[arg-type]  # all are VideoRefused
    assert type(told) is kind
    assert told.message.startswith(str(error))
    assert "send" in told.message
