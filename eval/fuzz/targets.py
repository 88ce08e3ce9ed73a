"""What reads the bytes: the service's parsers, called as its routes call them, in this process and without torch.

The one place where evaluation looks inside of the service: a fuzzer that only spoke HTTP would do a hundred inputs in
the time of a hundred thousand, and see less.
"""

from collections.abc import Callable

from pydantic import ValidationError

from eval.fuzz.corpus import CHANNELS, CODES, FACTOR, KINDS, PICTURES, SPEC_ID, Body, Kind
from service import bodies, codecs, errors, schemas, wire
from tokenizer.core.config import explain
from tokenizer.data.video_file import read_frames
from tokenizer.data.video_header import Limits, VideoRefused
from tokenizer.spec import LatentSpec

MAX_PIXELS, MAX_BATCH, MAX_FRAMES = 256 * 256, 8, 64
CONTINUOUS = LatentSpec.image(CHANNELS, FACTOR)
DISCRETE = LatentSpec.image(CHANNELS, FACTOR, codebook_size=CODES)

Target = Callable[[Body], None]


def picture(body: Body) -> None:
    """Header, then pixels, as encode and reconstruct; a mask, as image-to-image."""
    header = codecs.inspect(body.data, MAX_PIXELS)
    pixels = codecs.decode(body.data, MAX_PIXELS)
    # A picture may say only after its pixels that it lies on its side.
    assert sorted(pixels.shape) == sorted((*header.size, 3)), f"header {header.size}, pixels {pixels.shape}"
    assert pixels.dtype == "uint8"
    assert codecs.decode_mask(body.data, MAX_PIXELS).shape == pixels.shape[:2]


def latent(body: Body) -> None:
    """Reading and checking, as decode."""
    read = wire.read_latent(body.data, body.headers)
    spec = CONTINUOUS if read.indices is None else DISCRETE
    checked = wire.check(read, spec, SPEC_ID, max_pixels=MAX_PIXELS, max_batch=MAX_BATCH)
    assert checked.batch <= MAX_BATCH
    for part in checked.parts.values():
        assert part.dtype == "float32"
        assert abs(part).max() < 1e6


def pixels(body: Body) -> None:
    """Raw pixels and npy, or else a picture file, as encode."""
    read = codecs.read_pixels(body.data, body.headers, MAX_PIXELS)
    if read is None:
        picture(body)
    else:
        assert read.size <= 3 * MAX_PIXELS


def video(body: Body) -> None:
    """Header, then frames, as videos are encoded."""
    limits = Limits(MAX_FRAMES, 60.0, MAX_PIXELS, MAX_FRAMES * MAX_PIXELS)
    header = codecs.inspect_video(body.data, limits)
    assert 1 <= header.frames <= MAX_FRAMES
    try:
        for _, frame in read_frames(body.data, header, limits=limits):
            assert frame.shape == (*header.size, 3), f"header {header.size}, frame {frame.shape}"
    except VideoRefused as error:
        raise codecs.refused(error) from None


def json(body: Body) -> None:
    """A generate request, and the sentence that a wrong one is answered with."""
    try:
        schemas.GenerateRequest.model_validate_json(body.data)
    except ValidationError as error:
        message = explain(error, schemas.GenerateRequest)
        raise errors.InvalidParameter(message.encode("utf-8", "backslashreplace").decode()) from None


def form(body: Body) -> None:
    """A form, by its one file and by all of its fields."""
    kind = body.headers["content-type"]
    assert sum(map(len, bodies.files_of_form(body.data, kind, MAX_BATCH))) <= len(body.data)
    bodies.file_of_form(body.data, kind)


TARGETS: dict[Kind, Target] = {
    **dict.fromkeys(PICTURES, picture),
    "safetensors": latent,
    "npy": latent,
    "raw": latent,
    "pixels": pixels,
    "json": json,
    "form": form,
    "mp4": video,
}
assert set(TARGETS) == set(KINDS)


def read(kind: Kind, body: Body) -> str:
    """``ok`` or the code of the refusal; anything else that is raised is what a fuzzer looks for.

    Raises:
        Exception: the parser failed on this input.
    """
    try:
        TARGETS[kind](body)
    except errors.ServiceError as error:
        refusal = error
    else:
        return "ok"
    if refusal.status >= 500 or not refusal.message.encode():
        raise refusal
    return refusal.code
