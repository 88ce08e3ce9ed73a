"""What calls give back: pictures, reconstructions, models, with what the server told beside them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from service.client.errors import BadAnswer
from service.client.latent import write_whole
from service.client.pictures import npy_bytes

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "application/x-npy": ".npy",
}
NPY = "application/x-npy"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came.

    Attributes:
        status: of HTTP.
        headers: names in lower case.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:  # JSON: every reader checks what it takes
        """The body as JSON.

        Raises:
            BadAnswer: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise BadAnswer(
                f"{self.media_type or 'an answer'} where JSON belongs: is this address ours?"
            ) from None


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says about how it was made.

    Attributes:
        request_id: names the request in the server's log.
        batch_size: requests that shared the network pass.
        batch_bucket: what it was padded to; the same request pinned to it gives the same bytes.
        timings_ms: by stage: queue, before, core, after.
    """

    request_id: str | None = None
    batch_size: int | None = None
    batch_bucket: int | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Told:
        """From the headers of an answer."""
        timings = {}
        for item in headers.get("server-timing", "").split(","):
            name, found, spent = item.strip().partition(";dur=")
            if found:
                timings[name] = float(spent)
        return cls(
            headers.get("x-request-id"),
            _whole(headers.get("x-batch-size")),
            _whole(headers.get("x-batch-bucket")),
            timings,
        )


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture as a file: PNG, JPEG, WebP, AVIF or npy."""

    data: bytes
    media_type: str

    @property
    def suffix(self) -> str:
        """Of a file that holds it."""
        return SUFFIXES.get(self.media_type, "")

    def array(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3)."""
        if self.media_type == NPY:
            return _npy(self.data)
        with Image.open(io.BytesIO(self.data)) as image:
            return np.asarray(image.convert("RGB"))

    def pil(self) -> Image.Image:
        """Decoded."""
        return Image.fromarray(self.array())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file as it is, whole or not at all."""
        write_whole(Path(path), self.data)


@dataclass(frozen=True, slots=True)
class Pictures(Sequence[PictureFile]):
    """Pictures of one request.

    Attributes:
        files: in order.
        told: how they were made.
        seed: of generated ones; picture i has seed + i.
    """

    files: tuple[PictureFile, ...]
    told: Told = field(default_factory=Told)
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> PictureFile: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PictureFile, ...]: ...
    def __getitem__(self, index: int | slice) -> PictureFile | tuple[PictureFile, ...]:
        return self.files[index]

    def __iter__(self) -> Iterator[PictureFile]:
        return iter(self.files)

    def arrays(self) -> NDArray[np.uint8]:
        """uint8 (N, H, W, 3)."""
        return np.stack([file.array() for file in self.files])

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """One picture goes to ``path``; several beside it, with ``-0``, ``-1``, ... before the suffix."""
        path = Path(path)
        paths = [path]
        if len(self.files) > 1:
            paths = [path.with_name(f"{path.stem}-{index}{path.suffix}") for index in range(len(self.files))]
        for where, file in zip(paths, self.files, strict=True):
            file.save(where)
        return paths


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What encoding and decoding leave of a picture.

    Attributes:
        picture: of the size that was sent.
        psnr: dB on rounded uint8; infinite where nothing was lost.
        source_bytes, pixel_bytes, latent_bytes: of the file sent, of its pixels, of the latent at its rate.
        told: how it was made.
    """

    picture: PictureFile
    psnr: float
    source_bytes: int
    pixel_bytes: int
    latent_bytes: int
    told: Told


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a server answers and its models are ready; ``problem`` is the sentence that says why not."""

    live: bool
    ready: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server has.

    Attributes:
        name: to ask for it.
        kind: ``tokenizer`` or ``generator``.
        default: whether it is taken where none is named.
        facts: all that the server tells of it: spec, licence, figures, classes, sizes, ...
    """

    name: str
    kind: str
    default: bool
    facts: Mapping[str, Any]  # JSON, passed on


def pictures(reply: Reply) -> Pictures:
    """One picture raw, several as JSON with base64, or several as one npy array.

    Raises:
        BadAnswer: anything else.
    """
    told, seed = Told.of(reply.headers), _whole(reply.headers.get("x-tessera-seed"))
    if reply.media_type == "application/json":
        facts = reply.json()
        try:
            items = sorted(facts["data"], key=lambda item: int(item["index"]))
            files = tuple(
                PictureFile(base64.b64decode(item["b64"], validate=True), facts["media_type"])
                for item in items
            )
            if "timings_ms" in facts:  # a stream, whose headers went before the work
                told = Told(told.request_id, facts["batch_size"], facts["batch_bucket"], facts["timings_ms"])
            return Pictures(files, told, facts.get("seed", seed))
        except (KeyError, TypeError, ValueError):
            raise BadAnswer("JSON that holds no pictures: is this server of the same version?") from None
    if reply.media_type not in SUFFIXES:
        raise BadAnswer(f"{reply.media_type or 'no media type'} where a picture belongs")
    if reply.media_type == NPY and (array := _npy(reply.body)).ndim == 4:
        return Pictures(tuple(PictureFile(npy_bytes(row), NPY) for row in array), told, seed)
    return Pictures((PictureFile(reply.body, reply.media_type),), told, seed)


def reconstruction(reply: Reply) -> Reconstruction:
    """A picture with its headers.

    Raises:
        BadAnswer: a header is missing.
    """
    (picture,) = pictures(reply)
    try:
        source, pixel, latent = (
            int(reply.headers[f"x-tessera-{what}-bytes"]) for what in ("source", "pixel", "latent")
        )
        psnr = float(reply.headers["x-tessera-psnr"])
        return Reconstruction(picture, psnr, source, pixel, latent, Told.of(reply.headers))
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the reconstruction lacks {error}: is this server of the same version?") from None


def models(reply: Reply) -> list[Model]:
    """The list of ``/v1/models``."""
    try:
        return [_model(facts) for facts in reply.json()["data"]]
    except (KeyError, TypeError):
        raise BadAnswer("JSON that lists no models: is this address ours?") from None


def model(reply: Reply) -> Model:
    """One model."""
    return _model(reply.json())


def _model(facts: Any) -> Model:  # JSON
    try:
        return Model(facts["name"], facts["kind"], bool(facts["default"]), facts)
    except (KeyError, TypeError):
        raise BadAnswer("JSON that is no model: is this address ours?") from None


def _npy(body: bytes) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError):
        raise BadAnswer("an npy array that cannot be read") from None
    return array


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
