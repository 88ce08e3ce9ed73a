"""A generator that a server has: pictures of classes over HTTP, as ``diffusion.pipeline`` makes them.

One request a picture, several at once: the server joins them step by step. Requests carry ``x-priority: batch``.

Letters: N pictures, H W pixels.
"""

import io
import json
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffusion.samplers import SamplerName
from tokenizer.adapters.remote import MODELS, RemoteTokenizer, entry_of, root_of
from tokenizer.adapters.remote.connection import Connection

GENERATE = "/v1/generate"
CONNECTIONS = 16


class RemotePipeline:
    """A served generator conditioned on classes.

    Args:
        source: ``http://host:port#model``, the server's default generator without the name.
        key: of the server; without it the environment's TESSERA_API_KEY.

    Raises:
        ValueError: there is no such server or generator, or it is conditioned on texts.
    """

    denoiser = None  # it is elsewhere

    def __init__(self, source: str, *, key: str | None = None) -> None:
        url, _, name = source.partition("#")
        self._connection = Connection(root_of(url), key=key)
        try:
            models = json.loads(self._connection.get(MODELS).body)["data"]
            entry = entry_of(models, "generator", name, url)
            if entry["conditioning"] != "class" or entry["tokenizer"] is None:
                raise ValueError(f"{entry['name']!r} of {url} is no generator of classes: name one that is")
        except ValueError:
            self._connection.close()
            raise
        self.name: str = entry["name"]
        self.spec_id: str = entry["spec_id"]
        self.class_names: tuple[str, ...] = tuple(entry["class_names"])
        self.sizes = tuple((int(height), int(width)) for height, width in entry["sizes"])
        self.tokenizer = RemoteTokenizer(f"{root_of(url)}#{entry['tokenizer']}", key=key)
        weakref.finalize(self, self._connection.close)

    def generate(
        self,
        labels: Sequence[int],
        seed: int = 0,
        num_steps: int = 50,
        guidance: float = 2.0,
        *,
        sampler: SamplerName = "euler",
        output: Literal["pixels"] = "pixels",
        batch: int | None = None,
    ) -> Tensor:
        """Picture i of class labels[i] from the noise of seed + i: (N, 3, H, W) in [-1, 1], rounded to 8 bits.

        ``batch`` is the server's.

        Raises:
            ValueError: an option cannot be asked of a server, or it refuses.
        """
        if sampler != "euler":
            raise ValueError(
                f"sampler={sampler} cannot be asked of a server: leave it out, or load the folder"
            )

        def make(place: int) -> Tensor:
            asked = {
                "label": labels[place],
                "seed": seed + place,
                "num_steps": num_steps,
                "guidance": guidance,
            }
            body = json.dumps(asked | {"model": self.name, "output": "npy"}).encode()
            headers = {"content-type": "application/json", "x-priority": "batch"}
            reply = self._connection.post(GENERATE, body, headers)
            pixels = np.load(io.BytesIO(reply.body), allow_pickle=False)  # uint8 (H, W, 3)
            return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1.0

        with ThreadPoolExecutor(min(CONNECTIONS, max(1, len(labels)))) as pool:
            return torch.stack(list(pool.map(make, range(len(labels)))))
