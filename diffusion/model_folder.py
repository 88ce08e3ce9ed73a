"""A generator on disk: what its folder says, and how its network is read from it.

The folder is a model folder of ``tokenizer.core.checkpoint`` with ``kind: generator``; it names the latent
space (spec_id) that it belongs to.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from diffusion.backbones import Denoiser, DenoiserConfig, LatentShape
from diffusion.generators import GeneratorConfig
from tokenizer.core import checkpoint
from tokenizer.core.config import Config

BUNDLED = Path(__file__).parent / "bundled"


class GeneratorRecord(Config):
    """``config.json`` of a generator.

    Attributes:
        model: the network's kind and sizes.
        generator: how it was trained and is sampled.
        spec_id: the latent space whose latents it makes.
        latent_shape: (C, H', W') of one latent, or (C, N) of a row of tokens.
        size: (H, W) in pixels of what the latents decode to.
        class_names: label i is class_names[i].
        licence, figures, preset: what is known about the weights; preset is the training's, without paths.
    """

    format: Literal[1] = 1
    kind: Literal["generator"] = "generator"
    model: DenoiserConfig
    generator: GeneratorConfig
    spec_id: str
    latent_shape: LatentShape
    size: tuple[int, int]
    class_names: tuple[str, ...]
    licence: str | None = None
    figures: dict[str, Any] | None = None  # JSON, not interpreted here
    preset: dict[str, Any] | None = None  # JSON, not interpreted here

    def build(self) -> nn.Module:
        """The network with fresh weights; it answers to ``Denoiser``."""
        return self.model.build(latent_shape=self.latent_shape, num_classes=len(self.class_names))


def bundled() -> list[str]:
    """Names of the generators that come with the package."""
    return sorted(folder.name for folder in BUNDLED.glob("*") if (folder / checkpoint.CONFIG).is_file())


def find(source: str | Path) -> Path:
    """The model folder of a source: a model folder, a run folder (its latest checkpoint), or a bundled name.

    Raises:
        ValueError: if there is no such generator, listing the bundled ones.
    """
    path = Path(source)
    if not path.exists() and str(source) in bundled():
        path = BUNDLED / str(source)
    if not path.is_dir():
        names = ", ".join(bundled()) or "none"
        raise ValueError(
            f"no generator {str(source)!r}: it is neither a folder nor a bundled model ({names})"
        )
    return checkpoint.resolve(path)


def read_record(folder: Path) -> GeneratorRecord:
    """``config.json`` of a model folder; ValueError if it is not a generator's."""
    config = checkpoint.read_config(folder)
    if config.get("kind") != "generator":
        raise ValueError(f"{folder} holds a {config.get('kind')!r}, not a generator")
    return GeneratorRecord.parse(config)


def load_denoiser(
    source: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Denoiser, GeneratorRecord]:
    """A network ready for inference (averaged weights where there are some) and what its folder says.

    Raises:
        ValueError: if there is no such generator, or its files are damaged; the message says which.
    """
    folder = find(source)
    record = read_record(folder)
    checkpoint.verify(folder)
    with torch.device("cpu"):
        network = record.build()
    file = checkpoint.weights_path(folder)
    try:
        network.load_state_dict(checkpoint.load_tensors(file))
    except RuntimeError as error:
        raise ValueError(f"{file} does not fit the model in {folder / checkpoint.CONFIG}: {error}") from None
    return network.to(device=device, dtype=dtype).eval().requires_grad_(False), record  # type: ignore[return-value]  # nn.Module hides its attributes from protocols
