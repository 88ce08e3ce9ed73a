"""Pictures as OpenAI's clients read them: whole answers, and the events of a stream."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from service import codecs
from service.openai.schemas import ImageItem, ImagesAnswer, Usage
from service.sse import event

if TYPE_CHECKING:
    from service.engine.messages import GenerateJob
    from service.openai.schemas import Format, ImagesRequest

Kind = Literal["image_generation", "image_edit"]


def items(body: bytes, media_type: str | None) -> list[str]:
    """The pictures of an engine's answer, base64: one raw file, or several in JSON."""
    if media_type == "application/json":
        return [item["b64"] for item in json.loads(body)["data"]]
    return [base64.b64encode(body).decode()]


def images_answer(asked: ImagesRequest, job: GenerateJob, body: bytes, media_type: str | None) -> bytes:
    """The JSON of a finished request; megabytes of it, so call it in a thread."""
    answer = ImagesAnswer(
        created=int(time.time()),
        data=[ImageItem(b64_json=text) for text in items(body, media_type)],
        output_format=output_format(asked),
        quality=asked.quality,
        size=size_text(job.size),
        seed=job.seed,
    )
    return answer.model_dump_json().encode()


def completed_events(
    kind: Kind, asked: ImagesRequest, job: GenerateJob, body: bytes, media_type: str | None
) -> bytes:
    """One ``completed`` event a picture; call it in a thread."""
    usage = Usage().model_dump()
    facts = _facts(asked, job) | {"usage": usage, "seed": job.seed}
    name = f"{kind}.completed"
    return b"".join(event(name, {"type": name, "b64_json": text} | facts) for text in items(body, media_type))


def partial_event(kind: Kind, asked: ImagesRequest, job: GenerateJob, preview: bytes, index: int) -> bytes:
    """A ``partial_image`` event: the preview, a few pixels wide, at the size and in the format that were asked for.

    Call it in a thread.
    """
    pixels = codecs.decode(preview, max_pixels=job.size[0] * job.size[1])
    shown = Image.fromarray(pixels).resize((job.size[1], job.size[0]), Image.Resampling.BICUBIC)
    file = codecs.encode(np.asarray(shown), output_format(asked), quality=job.quality)
    name = f"{kind}.partial_image"
    picture = {"type": name, "b64_json": base64.b64encode(file).decode(), "partial_image_index": index}
    return event(name, picture | _facts(asked, job))


def output_format(asked: ImagesRequest) -> Format:
    """The format of the pictures."""
    return asked.output_format or "png"


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as OpenAI writes it."""
    return f"{size[1]}x{size[0]}"


def _facts(asked: ImagesRequest, job: GenerateJob) -> dict[str, Any]:  # JSON
    return {
        "created_at": int(time.time()),
        "background": "opaque",
        "output_format": output_format(asked),
        "quality": asked.quality or "auto",
        "size": size_text(job.size),
    }
