"""Sampling: labels and seeds to latents, and to pictures where there is a tokenizer.

Letters: B batch, C latent channels, H' W' latent grid, H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import torch
from PIL import Image
from torch import Tensor

from diffusion import image_to_image
from diffusion.backbones import Denoiser
from diffusion.generators import Generator
from diffusion.image_to_image import Given, Pictures
from diffusion.model_folder import bundled, load_denoiser
from diffusion.samplers import STEPS, SamplerName, sample
from tokenizer.data.transforms import to_uint8
from tokenizer.loading import load as load_tokenizer
from tokenizer.model import Tokenizer, pad_to
from tokenizer.spec import Latent

Label = int | str | None
Output = Literal["pil", "pixels", "latent"]
MAX_SEED = 2**63 - 1


class Pipeline:
    """A generator and the tokenizer that decodes what it makes.

    Args:
        tokenizer: decodes; None for a pipeline that only makes latents.
        denoiser: the network, on ``device``.
        generator: how it is sampled.
        spec_id: the latent space of the network's latents; empty where it was never saved.
        size: (H, W) in pixels of what the latents decode to.
        class_names: label i is class_names[i].
        device: of both networks.
        dtype: of the tokenizer's weights.

    Raises:
        ValueError: if the tokenizer makes other latents than the network, naming both.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        denoiser: Denoiser,
        generator: Generator,
        *,
        size: tuple[int, int],
        class_names: Sequence[str] = (),
        spec_id: str = "",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if tokenizer is not None:
            _refuse_other(tokenizer, denoiser, spec_id, size)
        self.tokenizer = tokenizer
        self.denoiser = denoiser
        self.generator = generator
        self.class_names = tuple(class_names) or tuple(str(label) for label in range(denoiser.num_classes))
        self.spec_id = spec_id
        self.device = torch.device(device)
        self.dtype = dtype
        self._size = size

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        tokenizer: Tokenizer | str | Path | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Pipeline":
        """A generator from a model folder, a run folder or a bundled name.

        Args:
            source: where the generator is.
            tokenizer: loaded, or where to load it from; without it a bundled generator takes the bundled
                tokenizer of its name, and any other one makes latents only.
            device: for both.
            dtype: of the weights of both.

        Raises:
            ValueError: if there is no such model, or the tokenizer is not the one that the generator belongs
            to.
        """
        denoiser, record = load_denoiser(source, device=device, dtype=dtype)
        if tokenizer is None and str(source) in bundled() and not Path(source).exists():
            tokenizer = str(source)
        if isinstance(tokenizer, str | Path):
            tokenizer = load_tokenizer(tokenizer, device=device, dtype=dtype)
        return cls(
            tokenizer,
            denoiser,
            record.generator.build(),
            size=record.size,
            class_names=record.class_names,
            spec_id=record.spec_id,
            device=device,
            dtype=dtype,
        )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The sizes (H, W) in pixels that it can make."""
        return (self._size,)

    @overload
    def generate(
        self, labels: Label | Sequence[Label], seed: int | Sequence[int] = ..., num_steps: int = ...,
        guidance: float = ..., *, size: tuple[int, int] | None = ..., sampler: SamplerName = ...,
        output: Literal["pil"] = ..., batch: int = ...,
    ) -> list[Image.Image]: ...  # fmt: skip
    @overload
    def generate(
        self, labels: Label | Sequence[Label], seed: int | Sequence[int] = ..., num_steps: int = ...,
        guidance: float = ..., *, size: tuple[int, int] | None = ..., sampler: SamplerName = ...,
        output: Literal["pixels"], batch: int = ...,
    ) -> Tensor: ...  # fmt: skip
    @overload
    def generate(
        self, labels: Label | Sequence[Label], seed: int | Sequence[int] = ..., num_steps: int = ...,
        guidance: float = ..., *, size: tuple[int, int] | None = ..., sampler: SamplerName = ...,
        output: Literal["latent"], batch: int = ...,
    ) -> Latent: ...  # fmt: skip

    @torch.no_grad()
    def generate(
        self,
        labels: Label | Sequence[Label],
        seed: int | Sequence[int] = 0,
        num_steps: int = 50,
        guidance: float = 2.0,
        *,
        size: tuple[int, int] | None = None,
        sampler: SamplerName = "euler",
        output: Output = "pil",
        batch: int = 32,
    ) -> list[Image.Image] | Tensor | Latent:
        """One picture a label.

        Args:
            labels: index, class name, or None for no class; one or a sequence.
            seed: picture i starts from the noise of seed + i, or of seed[i]; nothing else of it is random.
            num_steps: of the sampler; Heun evaluates the network twice a step.
            guidance: classifier-free guidance, 1 for none.
            size: (H, W) in pixels, one of ``sizes``.
            sampler: euler or heun.
            output: "pil"; "pixels", (B, 3, H, W) float in [-1, 1]; or "latent", normalised.
            batch: pictures made together.

        Raises:
            ValueError: for a label, size, seed or number of steps that it cannot serve, listing those it can.
        """
        y = self.encode_labels([labels] if labels is None or isinstance(labels, int | str) else labels)
        eps = self.noise(self._seeds(seed, len(y)))
        size = self.check_size(size)
        times = self.generator.times(num_steps)
        parts = [
            sample(sampler, self.generator.velocity(self.denoiser, y_part, guidance), eps_part, times)
            for y_part, eps_part in zip(torch.split(y, batch), torch.split(eps, batch), strict=True)
        ]
        if output == "latent":
            return self.latent(torch.cat(parts))
        pixels = torch.cat([self.decode(part) for part in parts])
        return pixels if output == "pixels" else _images(pixels)

    @overload
    def image_to_image(
        self, pictures: Pictures, labels: Label | Sequence[Label], seed: int | Sequence[int] = ...,
        num_steps: int = ..., guidance: float = ..., *, strength: float = ..., mask: Pictures | None = ...,
        sampler: SamplerName = ..., output: Literal["pil"] = ..., batch: int = ...,
    ) -> list[Image.Image]: ...  # fmt: skip
    @overload
    def image_to_image(
        self, pictures: Pictures, labels: Label | Sequence[Label], seed: int | Sequence[int] = ...,
        num_steps: int = ..., guidance: float = ..., *, strength: float = ..., mask: Pictures | None = ...,
        sampler: SamplerName = ..., output: Literal["pixels"], batch: int = ...,
    ) -> Tensor: ...  # fmt: skip
    @overload
    def image_to_image(
        self, pictures: Pictures, labels: Label | Sequence[Label], seed: int | Sequence[int] = ...,
        num_steps: int = ..., guidance: float = ..., *, strength: float = ..., mask: Pictures | None = ...,
        sampler: SamplerName = ..., output: Literal["latent"], batch: int = ...,
    ) -> Latent: ...  # fmt: skip

    @torch.no_grad()
    def image_to_image(
        self,
        pictures: Pictures,
        labels: Label | Sequence[Label],
        seed: int | Sequence[int] = 0,
        num_steps: int = 50,
        guidance: float = 2.0,
        *,
        strength: float = 0.6,
        mask: Pictures | None = None,
        sampler: SamplerName = "euler",
        output: Output = "pil",
        batch: int = 32,
    ) -> list[Image.Image] | Tensor | Latent:
        """One picture a label, made of a given one: its latent is put on the way to noise and comes back.

        Args:
            pictures: what to start from, one for all labels or one each: pictures, scaled to cover the size and
                cut around the centre, or (B, 3, H, W) in [-1, 1] of the size.
            labels: as in ``generate``.
            seed: as in ``generate``; the noise that the picture is mixed with.
            num_steps: of a whole path; strength times as many are taken.
            guidance: as in ``generate``.
            strength: the time to start at, before the generator's shift: 0 gives the reconstruction, 1 what
                ``generate`` gives.
            mask: where the picture is made anew: pictures (transparent, or in one without transparency white), or
                (B, 1, H, W) with 1 there and 0 elsewhere. Where it is 0 the result is the reconstruction.
            sampler: euler or heun.
            output: as in ``generate``; of a latent, the positions with a pixel of the mask are made anew whole.
            batch: pictures made together.

        Raises:
            ValueError: for a strength, picture, label or number of steps that it cannot serve.

        Source: Meng et al. 2021, SDEdit, arXiv 2108.01073.
        """
        y = self.encode_labels([labels] if labels is None or isinstance(labels, int | str) else labels)
        eps = self.noise(self._seeds(seed, len(y)))
        times = self.generator.times(num_steps, strength=strength)
        x = image_to_image.batch_of(pictures, self._size, len(y), image_to_image.picture_pixels)
        masks = None
        if mask is not None:
            masks = image_to_image.batch_of(mask, self._size, len(y), image_to_image.mask_pixels)
        latents, pixels = [], []
        for first in range(0, len(y), batch):
            rows = slice(first, first + batch)
            part = None if masks is None else masks[rows].to(self.device)
            given = self.given(x[rows].to(self.device), eps[rows], part)
            velocity = self.generator.velocity(self.denoiser, y[rows], guidance)
            latents.append(image_to_image.sample_from(given, sampler, velocity, times))
            if output != "latent":
                x_hat = self.decode(latents[-1])
                if part is not None:
                    x_hat = image_to_image.composite(x_hat, self.decode(given.z), part)
                pixels.append(x_hat)
        if output == "latent":
            return self.latent(torch.cat(latents))
        return torch.cat(pixels) if output == "pixels" else _images(torch.cat(pixels))

    def given(self, x: Tensor, eps: Tensor, mask: Tensor | None = None) -> Given:
        """Pictures x (B, 3, H, W) in [-1, 1], noise and a mask of pixels (B, 1, H, W) as sampling starts from them.

        Raises:
            ValueError: if the pipeline has no tokenizer, or there is a mask and the latent is a row of tokens.
        """
        if self.tokenizer is None:
            raise ValueError(
                "this pipeline has no tokenizer to encode pictures with: give one to Pipeline.load"
            )
        z = self.tokenizer.encode(x.to(self.dtype)).z.float()
        if mask is None:
            return Given(z, eps)
        if z.ndim != 4:
            raise ValueError(
                "a mask needs latents on a grid: each token of this row tells of the whole picture"
            )
        padded = pad_to(mask.float(), self.tokenizer.spec.padded(self._size))
        return Given(z, eps, image_to_image.cells(padded, (z.shape[2], z.shape[3])))

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Starting points (B, *latent_shape) float32, row i drawn on the CPU from seeds[i] alone.

        Raises:
            ValueError: if a seed is not in [0, 2^63).
        """
        rows = []
        for seed in seeds:
            if not 0 <= seed <= MAX_SEED:
                raise ValueError(f"a seed must be from 0 to 2^63 - 1, got {seed}")
            rows.append(
                torch.randn(self.denoiser.latent_shape, generator=torch.Generator().manual_seed(seed))
            )
        return torch.stack(rows).to(self.device)

    @torch.no_grad()
    def step(
        self,
        z_t: Tensor,
        t: Tensor,
        t_next: Tensor,
        y: Tensor,
        guidance: Tensor | float | None,
        *,
        sampler: SamplerName = "euler",
    ) -> Tensor:
        """Advance every row of a batch by its own step; for a server whose slots are at different times.

        With guidance the network always sees 2B rows, with and without class, so a row does not depend on others'
        guidance; without it B rows.

        Args:
            z_t: (B, C, H', W') float32, from ``noise`` at first.
            t: (B,) float32 times now, t_next: (B,) times after; both from ``generator.times(num_steps)``.
            t_next: see t.
            y: (B,) int64 labels, from ``encode_labels``.
            guidance: (B,) float32, or one value; None where no row wants any.
            sampler: euler or heun.
        """
        if guidance is None:
            return STEPS[sampler](lambda z, at: self.denoiser(z, at, y), z_t, t, t_next)
        velocity = self.generator.velocity(self.denoiser, y, guidance, always_double=True)
        return STEPS[sampler](velocity, z_t, t, t_next)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Normalised latents (B, C, H', W') -> pictures (B, 3, H, W) float32 in [-1, 1].

        Raises:
            ValueError: if the pipeline has no tokenizer.
        """
        if self.tokenizer is None:
            raise ValueError(
                "this pipeline has no tokenizer: give one to Pipeline.load, or ask for output='latent'"
            )
        x_hat = self.tokenizer.decode(self.latent(z.to(self.dtype)))
        return x_hat.float().clamp(-1.0, 1.0)

    def latent(self, z: Tensor) -> Latent:
        """Normalised latents (B, C, H', W') with their name, size and latent space."""
        name = "z" if self.tokenizer is None else self.tokenizer.spec.z.name
        return Latent({name: z}, self._size, self.spec_id)

    def encode_labels(self, labels: Sequence[Label]) -> Tensor:
        """Indices, class names, or None for no class -> (B,) int64 on the device.

        Raises:
            ValueError: for an unknown label, listing the known ones, or for none at all.
        """
        if not labels:
            raise ValueError("give at least one label")
        return torch.tensor([self._index(label) for label in labels], device=self.device)

    def check_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """``size``, or the only one there is for None.

        Raises:
            ValueError: for a size it cannot make, listing those it can.
        """
        if size is None:
            return self._size
        if tuple(size) not in self.sizes:
            known = ", ".join(f"{height}x{width}" for height, width in self.sizes)
            raise ValueError(f"this generator cannot make {size[0]}x{size[1]} pixels; it makes {known}")
        return self._size

    def _index(self, label: Label) -> int:
        if label is None:
            return self.denoiser.num_classes
        if isinstance(label, str) and label in self.class_names:
            return self.class_names.index(label)
        if isinstance(label, int) and 0 <= label < len(self.class_names):
            return label
        known = ", ".join(self.class_names[:20]) + (", ..." if len(self.class_names) > 20 else "")
        raise ValueError(f"no class {label!r}: it knows 0 to {len(self.class_names) - 1}, called {known}")

    @staticmethod
    def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
        if isinstance(seed, int):
            return [seed + index for index in range(count)]
        if len(seed) != count:
            raise ValueError(f"{count} labels need {count} seeds or one, got {len(seed)}")
        return list(seed)


def _images(pixels: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [-1, 1] -> pictures."""
    return [Image.fromarray(row.permute(1, 2, 0).cpu().numpy()) for row in to_uint8(pixels)]


def _refuse_other(tokenizer: Tokenizer, denoiser: Denoiser, spec_id: str, size: tuple[int, int]) -> None:
    if spec_id and tokenizer.spec_id and spec_id != tokenizer.spec_id:
        raise ValueError(
            f"the generator belongs to spec {spec_id}, this tokenizer is {tokenizer.spec_id}: "
            "give the tokenizer that its latents were made with"
        )
    shape = tokenizer.spec.shape(size)[tokenizer.spec.z.name]
    if shape != denoiser.latent_shape:
        raise ValueError(
            f"the generator makes latents {denoiser.latent_shape}, but this tokenizer's for "
            f"{size[0]}x{size[1]} pixels are {shape}"
        )
