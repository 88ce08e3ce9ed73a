"""Videos through /v1/encode, /v1/reconstruct and /v1/decode: probed in a thread, then a job that goes in pieces."""

from __future__ import annotations

import asyncio
import math
import time
from fractions import Fraction
from typing import TYPE_CHECKING, get_args

from service import codecs, wire
from service.engine.clip_jobs import DecodeClipJob, EncodeClipJob, ReconstructClipJob
from service.errors import InvalidParameter, NotATensor, TooManyPixels, WrongShape
from service.registry import check_padded
from service.routes.answers import envelope, run
from service.video_errors import NoClips, TooMuchVideo
from service.wire.safetensors import read_stored
from tokenizer.data.video_header import Limits
from tokenizer.data.video_writer import MAX_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request, Response

    from service.codecs import Output
    from service.registry import ServedTokenizer
    from service.schemas import DecodeQuery, DecodingQuery, EncodeQuery, ReconstructQuery
    from service.settings import Settings
    from service.state import Service
    from tokenizer.data.video_header import VideoHeader

RATE = Fraction(25)  # of a clip that does not say
MAX_RATE = 1000
# Passes hold about so many frames and what the network makes of them.
HELD_FRAMES = 32


def clip_sent(files: Sequence[bytes], model: ServedTokenizer) -> bool:
    """Whether a request sent a video rather than pictures; a GIF is one to a tokenizer of videos."""
    return len(files) == 1 and codecs.is_video(files[0], animations=model.spec.time != "none")


def picture_output(output: str | None) -> Output:
    """The format of a picture that is answered.

    Raises:
        InvalidParameter: a format of clips.
    """
    if output is None:
        return "png"
    known: Output | None = next((name for name in get_args(codecs.Output) if name == output), None)
    if known is not None:
        return known
    raise InvalidParameter(
        f"output={output} is of clips: ask for {', '.join(codecs.OUTPUTS)}", param="output"
    )


async def encode_clip(
    service: Service, request: Request, query: EncodeQuery, model: ServedTokenizer, body: bytes
) -> Response:
    """A video -> its latent."""
    if query.format == "png":
        raise InvalidParameter("format=png shows the latent of a picture: send one frame", param="format")
    _refuse_choices(query)
    header = await asyncio.to_thread(_inspected, service, model, body)
    _check_length(model, header.frames)
    wire.check_format(model.spec, query.format, query.dtype or "float32", 1)
    job = EncodeClipJob(
        id=service.engine.next_id(),
        model=model.name,
        cost=_cost(model, header),
        held=_held(model, header),
        submitted_at=time.monotonic(),
        body=body,
        header=header,
        limits=_limits(service.settings),
        format=query.format,
        what=query.what,
        dtype=query.dtype or "float32",
        **envelope(request, service),
    )
    return await run(service, request, job)


async def reconstruct_clip(
    service: Service, request: Request, query: ReconstructQuery, model: ServedTokenizer, body: bytes
) -> Response:
    """A video -> the MP4 that comes back."""
    if query.output not in (None, "mp4"):
        raise InvalidParameter("a video is answered as one: leave output out, or ask for mp4", param="output")
    _refuse_choices(query)
    header = await asyncio.to_thread(_inspected, service, model, body)
    _check_side(header.size)
    job = ReconstructClipJob(
        id=service.engine.next_id(),
        model=model.name,
        cost=2 * _cost(model, header),
        held=_held(model, header),
        submitted_at=time.monotonic(),
        body=body,
        header=header,
        limits=_limits(service.settings),
        quality=query.quality,
        **envelope(request, service),
    )
    return await run(service, request, job)


async def decode_clip(
    service: Service,
    request: Request,
    query: DecodeQuery,
    model: ServedTokenizer,
    latent: wire.CheckedLatent,
    rate: Fraction,
) -> Response:
    """The latent of a clip -> an MP4 or its frames."""
    frames, height, width = latent.size
    settings, output = service.settings, query.output or "mp4"
    _refuse_choices(query)
    _check_length(model, frames)
    if frames > settings.max_frames:
        raise TooMuchVideo(
            f"the latent is of {frames} frames and this server decodes up to {settings.max_frames}: send fewer",
            param="size",
            details={"max_frames": settings.max_frames},
        )
    pixels = check_padded(model.spec, (height, width), settings.max_pixels)
    if output == "mp4":
        _check_side((height, width))
        if query.bundle is not None:
            raise InvalidParameter("an mp4 is one file: leave bundle out", param="bundle")
    else:
        codecs.check_output(output, (height, width), query.quality)
        if frames * pixels > settings.max_pixels:
            raise TooManyPixels(
                f"{frames} frames of {width}x{height} as pictures are more than the {settings.max_pixels} pixels "
                "of one answer: ask for output=mp4",
                param="output",
                details={"max_pixels": settings.max_pixels},
            )
    job = DecodeClipJob(
        id=service.engine.next_id(),
        model=model.name,
        cost=frames * pixels,
        held=min(frames, HELD_FRAMES) * pixels,
        submitted_at=time.monotonic(),
        parts=latent.parts,
        indices=latent.indices,
        size=(frames, height, width),
        rate=rate,
        output=output,
        quality=query.quality,
        bundle=query.bundle,
        **envelope(request, service),
    )
    return await run(service, request, job)


def rate_of(body: bytes, told: str | None) -> Fraction:
    """Frames per second: as told, or as the safetensors say.

    Raises:
        InvalidParameter: none that a video can have.
    """
    text = told
    if text is None:
        try:
            text = read_stored(body)[1].get("frame_rate")
        except NotATensor:  # npy or raw
            text = None
    try:
        rate = RATE if text is None else Fraction(text[:32])
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= MAX_RATE:
        raise InvalidParameter(
            f"frame_rate must be frames per second, up to {MAX_RATE}, for example 25 or 30000/1001",
            param="frame_rate",
        )
    return rate.limit_denominator(100_000)


def _refuse_choices(query: EncodeQuery | DecodingQuery) -> None:
    """InvalidParameter for what requests may say of pictures alone."""
    for name in ("num_tokens", "num_steps", "seed"):
        if getattr(query, name, None) is not None:
            raise InvalidParameter(f"{name} is of pictures: leave it out for a video", param=name)


def _inspected(service: Service, model: ServedTokenizer, body: bytes) -> VideoHeader:
    """What the file says of itself, within all limits; in a thread."""
    if model.spec.time == "none":
        raise NoClips(
            f"tokenizer {model.name!r} takes pictures: send the frames, or name a tokenizer of videos with ?model= "
            "(GET /v1/models tells their time)",
            param="file",
        )
    header = codecs.inspect_video(body, _limits(service.settings))
    pixels = check_padded(model.spec, header.size, service.settings.max_pixels)
    if header.frames * pixels > service.settings.max_video_pixels:
        raise TooMuchVideo(
            f"{header.frames} frames of {header.size[1]}x{header.size[0]} are {header.frames * pixels} pixels after "
            f"padding and this server takes up to {service.settings.max_video_pixels}: send a shorter or a smaller one",
            param="file",
            details={"max_total_pixels": service.settings.max_video_pixels},
        )
    return header


def _limits(settings: Settings) -> Limits:
    return Limits(settings.max_frames, settings.max_seconds, settings.max_pixels, settings.max_video_pixels)


def _check_length(model: ServedTokenizer, frames: int) -> None:
    """NoClips if a latent cannot be of so many frames: where it is no grid of frames, it is of one clip."""
    spec = model.spec
    most = spec.chunk_frames
    if all(part.layout == "3d" for part in spec.parts) or most is None or frames <= most:
        return
    raise NoClips(
        f"tokenizer {model.name!r} makes one latent of up to {most} frames, these are {frames}: send fewer at once; "
        "/v1/reconstruct takes any number",
        param="file",
        details={"max_frames": most},
    )


def _check_side(size: tuple[int, int]) -> None:
    if max(size) > MAX_SIDE:
        raise WrongShape(f"an mp4 holds sides up to {MAX_SIDE} pixels: send a smaller video", param="file")


def _cost(model: ServedTokenizer, header: VideoHeader) -> int:
    return header.frames * math.prod(model.spec.padded(header.size))


def _held(model: ServedTokenizer, header: VideoHeader) -> int:
    return min(header.frames, HELD_FRAMES) * math.prod(model.spec.padded(header.size))
