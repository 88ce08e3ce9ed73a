"""Videos over HTTP: a real file comes back playable, of the same length, size and rate; what cannot be is refused."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from service import wire
from tests.service.conftest import Server, StartServer, as_file, make_tokenizer, models_setting, picture
from tokenizer.data.video_file import read_frames
from tokenizer.data.video_header import probe
from tokenizer.data.video_writer import to_mp4

FILM = {
    "kind": "causal3d", "latent_channels": 8, "widths": [8, 8, 8], "blocks_per_level": 1, "norm_groups": 4,
    "time_levels": [0, 1],
}  # fmt: skip
NTSC = Fraction(30000, 1001)
FRAMES = np.kron(
    np.random.default_rng(0).integers(40, 210, (11, 5, 6, 1), dtype=np.uint8), np.ones((1, 8, 8, 3), np.uint8)
)
MP4 = to_mp4(FRAMES, NTSC)


@pytest.fixture(scope="module")
def server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """One with a tokenizer of clips, whose passes hold a group of frames, beside one of pictures."""
    home = tmp_path_factory.mktemp("clips")
    models = {
        "film": make_tokenizer(home / "film", seed=5, backbone=FILM, projection=None),
        "tiny": make_tokenizer(home / "tiny", seed=1),
    }
    limits = {"max_frames": 20, "max_seconds": 60, "max_video_pixels": 40_000, "batch_pixels": 8192}
    return start_server(models=models_setting(models), warmup_s=0, **limits)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"].startswith("application/json"), answer.text[:200]
    error = answer.json()["error"]
    assert len(error["message"]) > 20
    return answer.status_code, error["code"]


def gif() -> bytes:
    out = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    first.save(out, "GIF", save_all=True, append_images=others, duration=80)
    return out.getvalue()


def webm() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream(
            "libvpx-vp9", rate=NTSC, options={"cpu-used": "8", "deadline": "realtime"}
        )
        stream.height, stream.width, stream.pix_fmt = 40, 48, "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
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


def long_header() -> bytes:
    data = bytearray(MP4)
    at = data.index(b"mvhd") + 16
    data[at : at + 8] = struct.pack(">2I", 1000, 36_000_000)
    return bytes(data)


@pytest.mark.parametrize(("body", "rate"), [(MP4, NTSC), (webm(), NTSC), (gif(), Fraction(100, 8))])
def test_a_video_comes_back_of_the_same_length_size_and_rate(
    server: Server, body: bytes, rate: Fraction
) -> None:
    answer = server.post("/v1/reconstruct?model=film", content=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "video/mp4"
    header = probe(answer.content)
    assert (header.frames, header.size, header.rate) == (11, (40, 48), rate)
    assert header.seconds == pytest.approx(11 / float(rate), abs=0.01)
    assert len(list(read_frames(answer.content))) == 11
    assert answer.headers["x-tessera-size"] == "11,40,48"
    assert answer.headers["x-tessera-frame-rate"] == str(rate)
    assert float(answer.headers["x-tessera-psnr"]) > 0
    assert int(answer.headers["x-tessera-source-bytes"]) == len(body)


def test_encode_then_decode_is_reconstruct(server: Server, tmp_path: Path) -> None:
    encoded = server.post("/v1/encode?model=film", content=MP4)
    assert encoded.status_code == 200, encoded.text
    parts, metadata = wire.read_safetensors(encoded.content)
    assert parts["z"].shape == (1, 8, 4, 10, 12)
    assert (metadata["size"], metadata["frame_rate"]) == ("11,40,48", "30000/1001")
    decoded = server.post("/v1/decode?model=film", content=encoded.content)
    assert decoded.headers["content-type"] == "video/mp4"
    header = probe(decoded.content)
    assert (header.frames, header.size, header.rate) == (11, (40, 48), NTSC)
    there = server.post("/v1/reconstruct?model=film", content=MP4)
    one, other = (
        np.stack([frame for _, frame in read_frames(video)]).astype(int)
        for video in (decoded.content, there.content)
    )
    assert np.abs(one - other).mean() < 1
    slower = server.post("/v1/decode?model=film&frame_rate=12.5&quality=20", content=encoded.content)
    assert probe(slower.content).rate == Fraction(25, 2)
    assert len(slower.content) < len(decoded.content)
    frames = server.post("/v1/decode?model=film&output=npy", content=encoded.content)
    assert wire.read_npy(frames.content).shape == (11, 40, 48, 3)
    raw = server.post("/v1/encode?model=film&format=raw&dtype=float16", content=MP4)
    told = {name: raw.headers[name] for name in wire.TOLD if name in raw.headers}
    again = server.post("/v1/decode?model=film&output=npy", content=raw.content, headers=told)
    close = np.abs(wire.read_npy(again.content).astype(int) - wire.read_npy(frames.content))
    assert close.max() <= 2


def test_a_picture_is_a_clip_of_one_frame(server: Server) -> None:
    encoded = server.post("/v1/encode?model=film", content=as_file(picture(40, 48)))
    parts, metadata = wire.read_safetensors(encoded.content)
    assert parts["z"].shape == (1, 8, 1, 10, 12)
    assert metadata["size"] == "40,48"
    decoded = server.post("/v1/decode?model=film", content=encoded.content)
    assert decoded.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(decoded.content)).size == (48, 40)
    still = server.post(
        "/v1/reconstruct?model=tiny", content=gif()
    )  # a tokenizer of pictures takes the first frame
    assert still.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("body", "path", "refused"),
    [
        (MP4[:-200], "/v1/encode?model=film", (400, "truncated_video")),
        (MP4[:300], "/v1/reconstruct?model=film", (400, "truncated_video")),
        (sound(), "/v1/encode?model=film", (415, "no_video")),
        (long_header(), "/v1/encode?model=film", (413, "too_much_video")),
        (to_mp4(np.tile(FRAMES[:1], (21, 1, 1, 1)), 25), "/v1/encode?model=film", (413, "too_much_video")),
        (
            to_mp4(np.tile(FRAMES[:11], (1, 2, 2, 1)), 25),
            "/v1/reconstruct?model=film",
            (413, "too_much_video"),
        ),
        (MP4, "/v1/encode?model=tiny", (422, "no_clips")),
        (MP4, "/v1/reconstruct?model=tiny", (422, "no_clips")),
        (MP4, "/v1/reconstruct?model=film&output=png", (422, "invalid_parameter")),
        (MP4, "/v1/encode?model=film&format=png", (422, "invalid_parameter")),
        (as_file(picture(8, 8)), "/v1/reconstruct?model=film&output=mp4", (422, "invalid_parameter")),
    ],
)
def test_refusals_say_why(server: Server, body: bytes, path: str, refused: tuple[int, str]) -> None:
    assert refusal(server.post(path, content=body)) == refused


def test_latents_of_clips_are_checked(server: Server) -> None:
    good = server.post("/v1/encode?model=film", content=MP4)
    spec = {"x-tessera-spec": good.headers["x-tessera-spec"]}
    z = np.zeros((1, 8, 4, 10, 12), np.float32)
    for size, refused in {
        "11,40,48": None,
        "12,40,48": None,  # the same groups of frames
        "14,40,48": (422, "wrong_shape"),
        "40,48": (422, "wrong_shape"),
        "11,40,48,3": (422, "wrong_shape"),
        "900,40,48": (413, "too_many_pixels"),
    }.items():
        answer = server.post(
            "/v1/decode?model=film", content=wire.write_npy(z), headers=spec | {"x-tessera-size": size}
        )
        assert (None if answer.status_code == 200 else refusal(answer)) == refused, size
    for query, param in (
        ("frame_rate=0", "frame_rate"),
        ("frame_rate=x", "frame_rate"),
        ("bundle=zip", "bundle"),
    ):
        answer = server.post(f"/v1/decode?model=film&{query}", content=good.content)
        assert answer.status_code == 422
        assert param in answer.text
    tiny = server.post("/v1/encode?model=tiny", content=as_file(picture(40, 48)))
    of_tiny = {"x-tessera-spec": tiny.headers["x-tessera-spec"], "x-tessera-size": "11,40,48"}
    answer = server.post("/v1/decode?model=tiny", content=wire.write_npy(z), headers=of_tiny)
    assert refusal(answer) == (422, "no_clips")
    over = server.post("/v1/tensors/decode?model=film", content=good.content)
    assert refusal(over) == (422, "no_clips")


def test_the_form_and_json_carry_videos_too(server: Server) -> None:
    answer = server.post("/v1/reconstruct?model=film", files={"file": ("clip.mp4", MP4, "video/mp4")})
    assert probe(answer.content).frames == 11
