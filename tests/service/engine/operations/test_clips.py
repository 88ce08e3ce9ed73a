"""Clips through the worker in turns: what comes out is what the library gives, whatever the pieces."""

import io
from fractions import Fraction

import numpy as np
import pytest
import torch

from service import wire
from service.engine.clip_jobs import DecodeClipJob, EncodeClipJob, ReconstructClipJob, crf
from service.engine.messages import Answer, Job
from service.engine.models import Models
from service.engine.operations.base import UNFINISHED, Pass, to_pixels
from service.engine.operations.clips import Clips, DecodeClip, EncodeClip, ReconstructClip
from service.errors import ServiceError
from service.video_errors import TruncatedVideo
from tests.service.engine.conftest import worker_settings
from tokenizer.config import TokenizerConfig
from tokenizer.data.video_file import read_frames
from tokenizer.data.video_header import Limits, probe
from tokenizer.data.video_writer import VideoWriter, to_mp4

FILM = {
    "kind": "causal3d", "latent_channels": 4, "widths": [8, 8, 8], "blocks_per_level": 1, "norm_groups": 4,
    "time_levels": [0, 1],
}  # fmt: skip
SIZE = (30, 44)
PIXELS = np.random.default_rng(0).integers(0, 255, (13, 5, 6, 3), dtype=np.uint8)
PIXELS = np.kron(PIXELS, np.ones((1, 6, 8, 1), np.uint8))[:, :30, :44]
MP4 = to_mp4(PIXELS, Fraction(30000, 1001))


class Told:
    """An outlook that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def over(self, job_id: int) -> ServiceError | None:
        return None

    def stepped(self, job_id: int, step: int, num_steps: int) -> None:
        self.steps.append((step, num_steps))


@pytest.fixture(scope="module", params=["identity", "fsq"])
def films(request: pytest.FixtureRequest) -> Models:
    """A tokenizer of clips, whose passes hold one group of frames."""
    bottleneck = {"kind": "fsq", "levels": [5] * 4} if request.param == "fsq" else {"kind": "identity"}
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": FILM, "bottleneck": bottleneck}).build()
    model.spec = model.spec.with_statistics({"z": ([0.1] * 4, [0.5] * 4)})
    model.spec_id = "film"
    settings = worker_settings({}, batch_pixels=4 * 32 * 44)
    tokenizers = {"film": model.eval().requires_grad_(False)}
    return Models(settings, torch.device("cpu"), torch.float32, tokenizers)  # type: ignore[arg-type]  # a dict will do


def through(operation: Clips[Job], job: Job) -> tuple[Answer, int]:
    """The answer, and how many turns the network had."""
    prepared = operation.before(job)  # type: ignore[attr-defined]  # all three have it
    turns = 0
    with torch.inference_mode():
        while (result := operation.core([prepared.payload], Pass(1))[0]) is UNFINISHED:
            turns += 1
        answer: Answer = operation.after(job, prepared.payload, result)  # type: ignore[attr-defined]  # as above
    return answer, turns


def job(kind: type[Job], body: bytes = MP4, **settings: object) -> Job:
    facts = {"id": 1, "model": "film", "cost": 99, "held": 9, "submitted_at": 0.0}
    return kind(**facts, body=body, header=probe(body), limits=Limits(), **settings)  # type: ignore[call-arg]


def clip(body: bytes = MP4) -> torch.Tensor:
    """The frames as x (1, 3, T, H, W)."""
    frames = np.stack([frame for _, frame in read_frames(body)])
    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def test_encode_in_pieces_is_one_pass(films: Models) -> None:
    told = Told()
    answer, turns = through(EncodeClip(films, told), job(EncodeClipJob, format="safetensors"))  # type: ignore[arg-type]
    assert turns == 3
    assert told.steps == [(5, 13), (9, 13), (13, 13)]
    parts, metadata = wire.read_safetensors(answer.body)
    expected = films.tokenizers["film"].encode(clip())
    assert np.allclose(parts["z"], expected.z.numpy(), atol=1e-5)
    assert metadata == {"size": "13,30,44", "spec_id": "film", "frame_rate": "30000/1001"}
    assert answer.headers["x-tessera-size"] == "13,30,44"
    assert answer.headers["x-tessera-frame-rate"] == "30000/1001"
    assert int(answer.headers["x-tessera-source-bytes"]) == len(MP4)
    raw, _ = through(EncodeClip(films, told), job(EncodeClipJob, format="raw", dtype="float16"))  # type: ignore[arg-type]
    assert raw.headers["x-tessera-shape"] == "1,4,4,8,11"


def test_reconstruct_is_encode_and_decode(films: Models) -> None:
    answer, turns = through(ReconstructClip(films, Told()), job(ReconstructClipJob, quality=95))  # type: ignore[arg-type]
    assert turns >= 3
    header = probe(answer.body)
    assert (header.frames, header.size, header.rate) == (13, SIZE, Fraction(30000, 1001))
    tokenizer, x = films.tokenizers["film"], clip()
    with torch.inference_mode():
        expected = to_pixels(tokenizer.decode(tokenizer.encode(x))[0].transpose(0, 1)).numpy()
    found = np.stack([frame for _, frame in read_frames(answer.body)])
    alike = to_mp4(expected, Fraction(30000, 1001), crf=crf(95))  # what H.264 takes, it takes from both
    again = np.stack([frame for _, frame in read_frames(alike)])
    assert np.abs(found.astype(int) - again).mean() < 0.5
    squared = np.square((x[0].permute(1, 2, 3, 0).numpy() + 1) * 127.5 - expected).mean()
    assert float(answer.headers["x-tessera-psnr"]) == pytest.approx(10 * np.log10(255**2 / squared), abs=0.01)


def test_times_of_their_own_come_back(films: Models) -> None:
    times = [Fraction(number * number, 100) for number in range(7)]
    out = io.BytesIO()
    writer = VideoWriter(out, SIZE, 10)
    writer.write(PIXELS[:7], times)
    writer.close(Fraction(1, 5))
    answer, _ = through(ReconstructClip(films, Told()), job(ReconstructClipJob, out.getvalue()))  # type: ignore[arg-type]
    assert [time for time, _ in read_frames(answer.body)] == times
    assert probe(answer.body).seconds == pytest.approx(0.56, abs=1e-3)


@pytest.mark.parametrize("what", ["latent", "indices"])
def test_decode_takes_what_encode_gave(films: Models, what: str) -> None:
    tokenizer = films.tokenizers["film"]
    if what == "indices" and tokenizer.spec.z.codebook_size is None:
        with pytest.raises(ValueError, match="continuous"):
            tokenizer.spec.z.index_shape((5, 8, 8))
        return
    encoded, _ = through(EncodeClip(films, Told()), job(EncodeClipJob, format="safetensors", what=what))  # type: ignore[arg-type]
    tensors, _ = wire.read_safetensors(encoded.body)
    sent = {"indices": tensors["indices"], "parts": {}} if what == "indices" else {"parts": tensors}
    facts = {
        "id": 1,
        "model": "film",
        "cost": 9,
        "submitted_at": 0.0,
        "size": (13, *SIZE),
        "rate": Fraction(12),
    }
    with torch.inference_mode():
        expected = to_pixels(tokenizer.decode(tokenizer.encode(clip()))[0].transpose(0, 1)).numpy()
    frames, turns = through(DecodeClip(films, Told()), DecodeClipJob(**facts, **sent, output="npy"))  # type: ignore[arg-type]
    assert turns == 3
    found = wire.read_npy(frames.body)
    assert found.shape == (13, *SIZE, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1
    video, _ = through(DecodeClip(films, Told()), DecodeClipJob(**facts, **sent, output="mp4", quality=90))  # type: ignore[arg-type]
    assert (video.media_type, probe(video.body).frames, probe(video.body).rate) == ("video/mp4", 13, 12)
    zipped, _ = through(DecodeClip(films, Told()), DecodeClipJob(**facts, **sent, output="png", bundle="zip"))  # type: ignore[arg-type]
    assert zipped.media_type == "application/zip"


def test_damage_in_the_middle_ends_the_job_alone(films: Models) -> None:
    start, stop = MP4.index(b"mdat") + 4, MP4.index(b"moov") - 4
    damaged = MP4[:start] + bytes(stop - start) + MP4[stop:]
    operation = ReconstructClip(films, Told())
    prepared = operation.before(job(ReconstructClipJob, damaged))  # type: ignore[arg-type]
    for _ in range(2):  # whoever asks again is told the same
        with pytest.raises(TruncatedVideo, match="damaged"):
            operation.core([prepared.payload], Pass(1))
