"""What ``eval.throughput`` times: our networks, and diffusers' with the same weights, called in the same way.

Letters: B batch, C latent channels, H' W' latent grid, R resolution.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
import yaml
from torch import Tensor, nn

from diffusion.backbones import Denoiser, DenoiserConfig
from diffusion.backbones.dit import DiTConfig
from diffusion.convert import to_diffusers as denoiser_to_diffusers
from diffusion.model_folder import load_denoiser
from tokenizer.adapters.diffusers import to_diffusers as tokenizer_to_diffusers
from tokenizer.config import TokenizerConfig
from tokenizer.core.config import find_preset
from tokenizer.loading import load
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent

RANDOM = "random:"
TOKENIZER_PRESETS = Path(__file__).resolve().parents[1] / "tokenizer" / "configs"
DIT_LATENT_SHAPE, DIT_CLASSES = (4, 32, 32), 1000  # of the published DiT for ImageNet at 256x256


class Contender(Protocol):
    """A network and the operations it can be asked for.

    Attributes:
        name: "ours" or "diffusers".
        module: holds the parameters; moved between dtypes by the caller.
        resolution: side of the pictures; None for a network of latents.
        operations: what ``prepare`` takes.
    """

    name: str
    module: nn.Module
    resolution: int | None
    operations: tuple[str, ...]

    def prepare(
        self, operation: str, batch_size: int, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Callable[[], Tensor]:
        """A call that does the operation once and returns its output; the input is made here, from a seed."""
        ...


@dataclass(frozen=True, slots=True)
class Inputs:
    """Random inputs, the same for both sides.

    Attributes:
        seed: names them.
        device: where they lie.
    """

    seed: int
    device: torch.device

    def uniform(
        self, shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Tensor:
        """Values in [-1, 1]."""
        x = torch.rand(shape, generator=self._generator()) * 2 - 1
        return x.to(self.device, dtype).contiguous(memory_format=memory_format)

    def normal(
        self, shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Tensor:
        """Standard normal values."""
        z = torch.randn(shape, generator=self._generator())
        return z.to(self.device, dtype).contiguous(memory_format=memory_format)

    def labels(self, batch_size: int, num_classes: int) -> Tensor:
        """(B,) int64."""
        return torch.randint(num_classes, (batch_size,), generator=self._generator()).to(self.device)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


class OurTokenizer:
    """Our autoencoder: encode pictures, decode latents."""

    name = "ours"
    operations: tuple[str, ...] = ("encode", "decode")

    def __init__(self, module: Autoencoder, resolution: int, inputs: Inputs) -> None:
        self.module: nn.Module = module
        self.resolution: int | None = resolution
        self._autoencoder = module
        self._size = (resolution, resolution)
        self._inputs = inputs

    def prepare(
        self, operation: str, batch_size: int, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Callable[[], Tensor]:
        """encode: x (B, 3, R, R) -> z; decode: z (B, C, H', W') -> x_hat."""
        autoencoder = self._autoencoder
        if operation == "encode":
            x = self._inputs.uniform((batch_size, 3, *self._size), dtype, memory_format)
            return lambda: autoencoder.encode(x).z
        part = autoencoder.spec.z
        shape = (batch_size, *autoencoder.spec.shape(self._size)[part.name])
        z = self._inputs.normal(shape, dtype, memory_format)
        latent = Latent({part.name: z}, self._size, autoencoder.spec_id)
        return lambda: autoencoder.decode(latent)


class DiffusersTokenizer:
    """diffusers' AutoencoderDC or AutoencoderKL with our weights."""

    name = "diffusers"
    operations: tuple[str, ...] = ("encode", "decode")

    def __init__(self, module: nn.Module, ours: Autoencoder, resolution: int, inputs: Inputs) -> None:
        self.module = module
        self.resolution: int | None = resolution
        self._size = (resolution, resolution)
        self._latent_shape = ours.spec.shape(self._size)[ours.spec.z.name]
        self._inputs = inputs

    def prepare(
        self, operation: str, batch_size: int, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Callable[[], Tensor]:
        """encode: x (B, 3, R, R) -> z, the mode where there is a posterior; decode: z -> x_hat."""
        network: Any = self.module  # diffusers publishes no types
        if operation == "encode":
            x = self._inputs.uniform((batch_size, 3, *self._size), dtype, memory_format)
            return lambda: _mode(network.encode(x, return_dict=False)[0])
        z = self._inputs.normal((batch_size, *self._latent_shape), dtype, memory_format)
        return lambda: cast(Tensor, network.decode(z, return_dict=False)[0])


class OurDenoiser:
    """Our denoiser: one evaluation."""

    name = "ours"
    operations: tuple[str, ...] = ("denoise",)
    resolution: int | None = None

    def __init__(self, denoiser: Denoiser, inputs: Inputs) -> None:
        self.module = cast(nn.Module, denoiser)
        self._denoiser = denoiser
        self._inputs = inputs

    def prepare(
        self, operation: str, batch_size: int, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Callable[[], Tensor]:
        """z_t (B, C, H', W') -> v."""
        denoiser = self._denoiser
        z_t, t, y = _noisy(self._inputs, denoiser, batch_size, dtype, memory_format)
        return lambda: denoiser(z_t, t, y)


class DiffusersDenoiser:
    """diffusers' DiTTransformer2DModel with our weights; its times run to 1000."""

    name = "diffusers"
    operations: tuple[str, ...] = ("denoise",)
    resolution: int | None = None

    def __init__(self, module: nn.Module, ours: Denoiser, inputs: Inputs) -> None:
        self.module = module
        self._ours = ours
        self._inputs = inputs

    def prepare(
        self, operation: str, batch_size: int, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> Callable[[], Tensor]:
        """z_t (B, C, H', W') -> v."""
        network: Any = self.module  # diffusers publishes no types
        z_t, t, y = _noisy(self._inputs, self._ours, batch_size, dtype, memory_format)
        return lambda: cast(Tensor, network(z_t, timestep=1000.0 * t, class_labels=y, return_dict=False)[0])


def tokenizer_contenders(
    source: str, device: torch.device, *, against: Literal["diffusers"] | None, resolution: int, seed: int
) -> list[Contender]:
    """Ours, and theirs if asked for.

    The latents of both are raw: ours gets statistics of mean 0 and deviation 1, which costs the same time.

    Raises:
        ValueError: if the source does not load, diffusers has no such class, or theirs cannot take the size.
    """
    ours = _autoencoder(source, seed)
    spec = ours.spec
    ours.spec = spec.with_statistics(
        {part.name: ([0.0] * part.channels, [1.0] * part.channels) for part in spec.parts}
    )
    inputs = Inputs(seed, device)
    sides: list[Contender] = [OurTokenizer(ours, resolution, inputs)]
    if against is not None:
        if spec.padded((resolution, resolution)) != (resolution, resolution):
            raise ValueError(f"resolution={resolution}: diffusers takes multiples of {spec.z.spatial_factor}")
        theirs = tokenizer_to_diffusers(ours)
        sides.append(DiffusersTokenizer(theirs.requires_grad_(False).to(device), ours, resolution, inputs))
    ours.to(device)
    return sides


def denoiser_contenders(
    source: str, device: torch.device, *, against: Literal["diffusers"] | None, seed: int
) -> list[Contender]:
    """Ours, and theirs if asked for.

    Raises:
        ValueError: if the source does not load, or diffusers' class cannot express it.
    """
    config, ours = _denoiser(source, seed)
    module = cast(nn.Module, ours)
    inputs = Inputs(seed, device)
    sides: list[Contender] = [OurDenoiser(ours, inputs)]
    if against is not None:
        if not isinstance(config, DiTConfig):
            raise ValueError(f"diffusers has no class for a denoiser of kind {config.kind!r}")
        import diffusers

        settings, tensors = denoiser_to_diffusers(
            config, ours.latent_shape, ours.num_classes, module.state_dict()
        )
        arguments = {key: value for key, value in settings.items() if not key.startswith("_")}
        make: Any = diffusers.DiTTransformer2DModel  # diffusers publishes no types
        theirs: nn.Module = make(**arguments)
        theirs.load_state_dict({key: value.contiguous() for key, value in tensors.items()})
        sides.append(DiffusersDenoiser(theirs.eval().requires_grad_(False).to(device), ours, inputs))
    module.to(device)
    return sides


def _autoencoder(source: str, seed: int) -> Autoencoder:
    return random_autoencoder(source, seed) if source.startswith(RANDOM) else load(source)


def random_autoencoder(source: str, seed: int) -> Autoencoder:
    """``random:PRESET`` -> the model of a training preset with fresh weights, in eval mode.

    Raises:
        ValueError: if there is no such preset.
    """
    preset = yaml.safe_load(find_preset(source.removeprefix(RANDOM), TOKENIZER_PRESETS).read_text())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TokenizerConfig.parse(preset["model"]).build()
    return model.eval().requires_grad_(False)


def _denoiser(source: str, seed: int) -> tuple[DenoiserConfig, Denoiser]:
    if not source.startswith(RANDOM):
        denoiser, record = load_denoiser(source)
        return record.model, denoiser
    named = re.fullmatch(r"dit-(S|B|L|XL)/([1-9]\d*)", source.removeprefix(RANDOM))
    if named is None:
        raise ValueError(f"{source!r}: a random denoiser is written random:dit-B/2, sizes S, B, L and XL")
    config = DiTConfig.parse({"preset": named[1], "patch": int(named[2])})
    module = config.build(latent_shape=DIT_LATENT_SHAPE, num_classes=DIT_CLASSES)
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():  # fresh weights end in zeros, and zero equals zero proves nothing
        nn.init.normal_(parameter, std=0.02, generator=generator)
    return config, module.eval().requires_grad_(False)


def _noisy(
    inputs: Inputs,
    denoiser: Denoiser,
    batch_size: int,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> tuple[Tensor, Tensor, Tensor]:
    z_t = inputs.normal((batch_size, *denoiser.latent_shape), dtype, memory_format)
    t = torch.linspace(0.1, 0.9, batch_size, device=inputs.device)
    return z_t, t, inputs.labels(batch_size, denoiser.num_classes)


def _mode(encoded: Any) -> Tensor:  # a tensor, or diffusers' distribution
    return cast(Tensor, encoded if isinstance(encoded, Tensor) else encoded.mode())
