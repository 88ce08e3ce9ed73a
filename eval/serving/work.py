"""The work of a request without a server: the codecs and the network, as the bare loop and every peer do it.

The codecs are those of the service: JPEG at quality 95 without subsampling, npy for raw uint8, safetensors in float32.

Letters: B batch, C latent channels, H W pixels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load as read_safetensors
from safetensors.numpy import save as write_safetensors
from torch import Tensor

import tokenizer
from diffusion.pipeline import Pipeline
from tokenizer.core.config import Config
from tokenizer.spec import Latent

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Stages of an operation: a body -> an item of its own kind; items -> an array each.
Before = Callable[[bytes], Any]
Core = Callable[[Sequence[Any]], "Sequence[NDArray[Any]]"]
Operation = Literal["encode", "decode", "reconstruct", "generate"]
CODEC_THREADS = 2  # as the service has before and after its network
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MEDIA_TYPES = {"jpeg": "image/jpeg", "npy": "application/x-npy", "safetensors": "application/vnd.safetensors"}


class WorkConfig(Config):
    """One operation over one model.

    Attributes:
        operation: what is done.
        tokenizer: its folder.
        generator: its folder, for ``generate``.
        output: how pictures go out.
        num_steps, guidance: of the sampler.
        device, dtype: of the network.
        threads: of the network.
        max_batch: most requests in one pass.
    """

    operation: Operation
    tokenizer: Path
    generator: Path | None = None
    output: Literal["jpeg", "npy"] = "jpeg"
    num_steps: int = 20
    guidance: float = 2.0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1
    max_batch: int = 16

    @property
    def media_type(self) -> str:
        """Of the answers."""
        return MEDIA_TYPES["safetensors" if self.operation == "encode" else self.output]


class Work:
    """The model, and three stages for each request: ``before`` and ``after`` on the host, ``core`` on the device."""

    def __init__(self, config: WorkConfig) -> None:
        torch.set_num_threads(config.threads)
        self.config = config
        dtype = DTYPES[config.dtype]
        self._dtype = dtype
        self._tokenizer = tokenizer.load(config.tokenizer, device=config.device, dtype=dtype)
        self._pipeline = None
        if config.operation == "generate":
            assert config.generator is not None  # the plan names one
            self._pipeline = Pipeline.load(
                config.generator, tokenizer=self._tokenizer, device=config.device, dtype=dtype
            )
        self._pool = ThreadPoolExecutor(CODEC_THREADS)
        self._stages: dict[str, tuple[Before, Core]] = {
            "encode": (self._read_picture, self._encode),
            "decode": (self._read_latent, self._decode),
            "reconstruct": (self._read_picture, self._reconstruct),
            "generate": (json.loads, self._generate),
        }

    def before(self, body: bytes) -> Any:  # what core of the same operation takes
        """A request's body -> what the network takes."""
        return self._stages[self.config.operation][0](body)

    @torch.inference_mode()
    def core(
        self, items: Sequence[Any]
    ) -> Sequence[NDArray[Any]]:  # what ``before`` gave -> what ``after`` takes
        """One pass for items of equal size: arrays on the host, one an item."""
        return self._stages[self.config.operation][1](items)

    def after(self, array: NDArray[Any]) -> bytes:  # float32 latents, uint8 pixels
        """An answer's body."""
        if self.config.operation == "encode":
            return write_safetensors({"z": np.ascontiguousarray(array)})  # it writes memory as it lies
        out = io.BytesIO()
        if self.config.output == "npy":
            np.save(out, array, allow_pickle=False)
        else:
            Image.fromarray(array).save(out, "JPEG", quality=95, subsampling=0)
        return out.getvalue()

    def run(self, bodies: Sequence[bytes]) -> list[bytes]:
        """A batch from bodies to answers, in passes of at most ``max_batch``; the codecs share threads."""
        step = self.config.max_batch
        items = list(self._pool.map(self.before, bodies))
        arrays = [
            array for first in range(0, len(items), step) for array in self.core(items[first : first + step])
        ]
        return list(self._pool.map(self.after, arrays))

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Threads for the codecs."""
        return self._pool

    def _read_picture(self, body: bytes) -> NDArray[np.uint8]:
        if body.startswith(b"\x93NUMPY"):
            raw: NDArray[np.uint8] = np.load(io.BytesIO(body), allow_pickle=False)
            return raw
        with Image.open(io.BytesIO(body)) as image:
            return np.asarray(image.convert("RGB"))

    def _read_latent(self, body: bytes) -> NDArray[np.float32]:
        return read_safetensors(body)["z"]

    def _pixels(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        stacked = torch.from_numpy(np.stack(pictures)).to(self.config.device)
        return (stacked.permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(self._dtype)  # B 3 H W

    def _encode(self, items: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.float32]]:
        z = self._tokenizer.encode(self._pixels(items)).z.float().cpu().numpy()
        return [z[index : index + 1] for index in range(len(items))]

    def _decode(self, items: Sequence[NDArray[np.float32]]) -> Sequence[NDArray[np.uint8]]:
        z = torch.from_numpy(np.concatenate(items)).to(self.config.device, self._dtype)
        factor = self._tokenizer.spec.z.spatial_factor
        size = (z.shape[2] * factor, z.shape[3] * factor)
        return self._bytes(self._tokenizer.decode(Latent({"z": z}, size)))

    def _reconstruct(self, items: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.uint8]]:
        return self._bytes(self._tokenizer.decode(self._tokenizer.encode(self._pixels(items))))

    def _generate(self, items: Sequence[dict[str, Any]]) -> Sequence[NDArray[np.uint8]]:
        assert self._pipeline is not None  # of this operation
        x_hat = self._pipeline.generate(
            [item["label"] for item in items],
            seed=[item["seed"] for item in items],
            num_steps=self.config.num_steps,
            guidance=self.config.guidance,
            output="pixels",
        )
        return self._bytes(x_hat)

    def _bytes(self, x_hat: Tensor) -> Sequence[NDArray[np.uint8]]:
        x = ((x_hat.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return list(x.permute(0, 2, 3, 1).contiguous().cpu().numpy())
