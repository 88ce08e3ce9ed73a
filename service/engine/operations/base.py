"""The shape of an operation, and the steps between host bytes and network that several of them share.

Letters: B batch, C latent channels, H W pixels.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from service import codecs, wire
from service.engine.batching import Prepared
from service.engine.messages import Answer
from service.wire import write_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from service.codecs import Output, Pixels
    from service.engine.messages import Bundle
    from service.errors import ServiceError

J = TypeVar("J", contravariant=True)
P = TypeVar("P")

_local = threading.local()


@dataclass(frozen=True, slots=True)
class Pass:
    """How a network pass is run.

    Attributes:
        bucket: rows that the network sees at once, whatever the number asked for: fewer are padded, more are cut
            into several. For one bucket a row's result does not depend on the other rows.
        tiled: in tiles even where the size alone would not ask for it, to save memory.
    """

    bucket: int
    tiled: bool = False


class Unfinished:
    """What ``core`` gives for a job that wants another turn: it gets in line again, with the payload that it has."""


UNFINISHED = Unfinished()


class Outlook(Protocol):
    """What the worker knows of a job while it runs; for operations that make steps of their own."""

    def over(self, job_id: int) -> ServiceError | None:
        """Why no work should be done for it any more, if so."""
        ...

    def stepped(self, job_id: int, step: int, num_steps: int) -> None:
        """It has made a step; must not block."""
        ...


class Operation(Protocol[J, P]):
    """Three stages, each run by its own threads. A ServiceError from any of them answers the one job it
    concerns.
    """

    def before(self, job: J) -> Prepared[P]:
        """Host work: check, decode, pad, pin. Sets the key under which jobs share a network pass."""
        ...

    def core(
        self, batch: Sequence[P], how: Pass
    ) -> Sequence[Any]:  # what ``after`` of the same operation takes
        """The network, on the device, for payloads of equal keys; one result each, or UNFINISHED."""
        ...

    def after(self, job: J, payload: P, result: Any) -> Answer:  # as core gave it
        """Copy to the host and encode."""
        ...


def pin(tensor: Tensor, device: torch.device) -> Tensor:
    """In page-locked memory if the device copies faster from there."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def pad_rows(x: Tensor, rows: int) -> Tensor:
    """x (B, ...) -> (rows, ...), the last row repeated, so that no row is of a kind that the network never sees.

    The memory layout is one and the same however many rows there were: kernels are chosen by it, and bytes by kernels.
    """
    missing = rows - x.shape[0]
    padded = x if missing <= 0 else torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
    images = padded.is_cuda and padded.ndim == 4
    return padded.contiguous(memory_format=torch.channels_last if images else torch.contiguous_format)


def from_pixels(pixels: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """uint8 (H, W, 3) each, on the host -> x (B, 3, H, W) in [-1, 1] on the device; bytes travel."""
    return scaled(torch.stack([item.to(device, non_blocking=True) for item in pixels]), dtype)


def scaled(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (B, H, W, 3) -> x (B, 3, H, W) in [-1, 1], where they are."""
    return (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(dtype)


def to_pixels(x_hat: Tensor) -> Tensor:
    """x_hat (B, 3, H, W), about [-1, 1] -> rounded uint8 (B, H, W, 3), still on the device."""
    x = ((x_hat.float() + 1.0) * 127.5).nan_to_num(0.0).round().clamp(0, 255)
    return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def to_host(tensor: Tensor) -> NDArray[Any]:  # float32 latents and uint8 pixels
    """A finished tensor as an array; on CUDA by a stream of its own, so that it never waits for the next
    pass.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu().numpy()
    stream = getattr(_local, "stream", None)
    if stream is None:
        stream = _local.stream = torch.cuda.Stream(tensor.device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with torch.cuda.stream(stream):
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        tensor.record_stream(stream)
        stream.synchronize()
    return host.numpy()


def pad_edges(array: NDArray[Any], size: tuple[int, ...], *, first: int) -> NDArray[Any]:  # of any type
    """The axes from ``first`` on grow to ``size``, their last values repeated, as the tokenizer itself would."""
    widths = [(0, 0)] * array.ndim
    for axis, side in enumerate(size, start=first):
        widths[axis] = (0, side - array.shape[axis])
    return np.pad(array, widths, mode="edge") if any(more for _, more in widths) else array


def picture_answer(
    job_id: int,
    pictures: Sequence[Pixels],
    output: Output,
    headers: dict[str, str],
    facts: dict[str, object],
    *,
    quality: int | None = None,
    bundle: Bundle | None = None,
) -> Answer:
    """One picture alone; several as JSON with base64, or as one array for npy and raw; or bundled as asked.

    Args:
        job_id: of the job.
        pictures: uint8 (H, W, 3) each, of one size.
        output: the format.
        headers: of the answer.
        facts: what stands beside ``data`` in the JSON.
        quality: of lossy formats; None for the format's own.
        bundle: JSON or a zip archive, however many there are.
    """
    media_type = codecs.MEDIA_TYPES[output]
    if bundle is None and output in ("npy", "raw"):
        array = pictures[0] if len(pictures) == 1 else np.stack(pictures)
        if output == "npy":
            return Answer(job_id, wire.write_npy(array), media_type, headers)
        told = {"x-tessera-shape": write_size(array.shape), "x-tessera-dtype": "uint8"}
        return Answer(job_id, wire.write_raw(array, "uint8"), media_type, headers | told)
    files = [codecs.encode(picture, output, quality=quality) for picture in pictures]
    if bundle is None and len(files) == 1:
        return Answer(job_id, files[0], media_type, headers)
    if bundle == "zip":
        return Answer(job_id, zipped(files, output), codecs.ZIP_MEDIA_TYPE, headers)
    data = [{"index": index, "b64": base64.b64encode(file).decode()} for index, file in enumerate(files)]
    text = json.dumps({**facts, "media_type": media_type, "data": data})
    return Answer(job_id, text.encode(), "application/json", headers)


def zipped(files: Sequence[bytes], suffix: str) -> bytes:
    """An archive of ``000.png, 001.png, ...``, not compressed again; the same files give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for index, file in enumerate(files):
            archive.writestr(
                zipfile.ZipInfo(f"{index:03}.{suffix}"), file
            )  # dated 1980, as the format begins
    return out.getvalue()


def latent_headers(size: tuple[int, ...], spec_id: str) -> dict[str, str]:
    """What every answer about a latent says."""
    return {"x-tessera-size": write_size(size), "x-tessera-spec": spec_id}
