"""A header is read whole, truly, and before any frame; what is beyond a limit, cut short or no video is refused."""

import io
import pickle
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tokenizer.data.video_header import (
    DamagedVideo,
    Limits,
    NotAVideo,
    NoVideoStream,
    VideoRefused,
    VideoTooLarge,
    cropped,
    probe,
    sniff,
)
from tokenizer.data.video_writer import VideoWriter, to_mp4

FRAMES = np.arange(9, dtype=np.uint8)[:, None, None, None] * 20 + np.zeros((9, 34, 48, 3), np.uint8)
NTSC = Fraction(30000, 1001)


def webm(rate: Fraction = NTSC) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream(
            "libvpx-vp9", rate=rate, options={"cpu-used": "8", "deadline": "realtime"}
        )
        stream.height, stream.width, stream.pix_fmt = 34, 48, "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def gif(milliseconds: int = 70) -> bytes:
    out = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    first.save(out, "GIF", save_all=True, append_images=others, duration=milliseconds)
    return out.getvalue()


def sound() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(127, 7)])
def test_mp4(rate: Fraction, tmp_path: Path) -> None:
    data = to_mp4(FRAMES, rate)
    header = probe(data)
    assert (header.container, header.codec, header.size, header.frames) == ("mp4", "h264", (34, 48), 9)
    assert (header.rate, header.variable) == (rate, False)
    assert header.seconds == pytest.approx(float(9 / rate), abs=1e-6)
    (tmp_path / "clip.mp4").write_bytes(data)
    assert probe(tmp_path / "clip.mp4") == probe(io.BytesIO(data)) == header


def test_webm_and_gif() -> None:
    one = probe(webm())
    assert (one.container, one.size, one.frames, one.rate, one.variable) == ("webm", (34, 48), 9, NTSC, False)
    other = probe(gif())
    assert (other.container, other.size, other.frames, other.rate) == ("gif", (34, 48), 9, Fraction(100, 7))
    assert other.seconds == pytest.approx(0.63)


def test_a_rate_that_varies_is_told() -> None:
    out = io.BytesIO()
    writer = VideoWriter(out, (34, 48), 10)
    writer.write(FRAMES[:3], [Fraction(0), Fraction(1, 10), Fraction(1, 2)])
    writer.close(Fraction(1, 4))
    header = probe(out.getvalue())
    assert header.variable
    assert header.rate == 4  # two steps in half a second
    assert header.seconds == pytest.approx(0.75)


def test_a_turned_video_says_the_size_that_is_seen() -> None:
    data = bytearray(to_mp4(FRAMES, 25))
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    header = probe(bytes(data))
    assert (header.turns, header.coded, header.size) == (1, (34, 48), (48, 34))


def test_odd_sizes_are_noted_and_only_believed_where_they_fit() -> None:
    assert probe(to_mp4(FRAMES[:, :33, :47], 25)).size == (33, 47)
    assert cropped((34, 48), "tessera-size=33,47") == (33, 47)
    for comment in ("tessera-size=31,47", "tessera-size=33", "size=33,47", "tessera-size=-1,47", ""):
        assert cropped((34, 48), comment) == (34, 48)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(frames=8), "frames"),
        (Limits(seconds=0.3), "seconds"),
        (Limits(pixels=34 * 48 - 1), "pixels"),
        (Limits(total_pixels=9 * 34 * 48 - 1), "total_pixels"),
    ],
)
@pytest.mark.parametrize("make", [lambda: to_mp4(FRAMES, 25), lambda: webm(Fraction(25)), gif])
def test_limits(limits: Limits, name: str, make: object) -> None:
    data = make() if callable(make) else b""
    assert probe(data, Limits(9, 1.0, 34 * 48, 9 * 34 * 48)).frames == 9
    with pytest.raises(VideoTooLarge, match="more than the") as caught:
        probe(data, limits)
    assert caught.value.limit == name
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.limit, again.value) == (str(caught.value), name, caught.value.value)


def test_ten_hours_are_refused_by_the_header_alone() -> None:
    data = bytearray(to_mp4(FRAMES, 25))
    at = data.index(b"mvhd") + 16
    data[at : at + 8] = struct.pack(">2I", 1000, 36_000_000)
    with pytest.raises(VideoTooLarge, match="36000 seconds, more than the 60"):
        probe(bytes(data), Limits(seconds=60))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", NotAVideo),
        (b"no video at all, but text", NotAVideo),
        (bytes(4) + b"ftypavif" + bytes(20), NotAVideo),
        (sound(), NoVideoStream),
        (to_mp4(FRAMES, 25)[:-300], DamagedVideo),
        (to_mp4(FRAMES, 25)[:200], DamagedVideo),
        (webm()[:-40], DamagedVideo),
        (webm()[:30], DamagedVideo),
        (gif()[:-100], DamagedVideo),
        (gif()[:9], DamagedVideo),
    ],
)
def test_what_is_no_whole_video_is_refused(data: bytes, kind: type[VideoRefused]) -> None:
    with pytest.raises(kind):
        probe(data)


def test_the_first_bytes_tell_the_container() -> None:
    assert [sniff(data[:16]) for data in (to_mp4(FRAMES, 25), webm(), gif())] == ["mp4", "webm", "gif"]
    assert sniff(b"\x89PNG\r\n\x1a\n" + bytes(8)) is None
