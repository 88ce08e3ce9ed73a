"""Generation that starts from a picture instead of from noise, everywhere or within a mask.

The picture's latent z is put at a time t of its straight path to noise, z_t = (1 - t) z + t eps, and the sampler goes
on from there: t near 0 keeps the picture, t = 1 is ordinary generation. With a mask, what lies outside of it is put
back on its own path after every step, so the network sees it at the right time and it ends as z.

Sources: Meng et al. 2021, SDEdit, arXiv 2108.01073 (to start within the path), here on the path of rectified flow;
Lugmayr et al. 2022, RePaint, arXiv 2201.09865, equation 8 (the known region is put back after each step).

Letters: B batch, C latent channels, H' W' latent grid, H W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from diffusion.samplers import STEPS, SamplerName, Velocity
from tokenizer.data.picture import flatten
from tokenizer.data.transforms import BICUBIC, BOX, as_bytes, to_pixels
from tokenizer.layers.flow import interpolate

Pictures = Image.Image | Sequence[Image.Image] | Tensor


@dataclass(frozen=True, slots=True)
class Given:
    """What generation starts from; a row a picture.

    Attributes:
        z: (B, C, H', W') float32, normalised latents of the pictures.
        eps: (B, C, H', W') float32, the noise at the other end of their paths.
        mask: (B, 1, H', W') bool, True where the latent is made anew; None for everywhere.
    """

    z: Tensor
    eps: Tensor
    mask: Tensor | None = None

    def at(self, t: Tensor) -> Tensor:
        """The latents at times t (B,) of their paths: exactly z at 0 and eps at 1."""
        return interpolate(self.z, self.eps, t)

    def keep(self, z_t: Tensor, t: Tensor) -> Tensor:
        """z_t (B, C, H', W') at times t (B,), what lies outside the mask put back on its own path."""
        return z_t if self.mask is None else torch.where(self.mask, z_t, self.at(t))


def sample_from(given: Given, sampler: SamplerName, velocity: Velocity, times: Tensor) -> Tensor:
    """Follow ``velocity`` from the given pictures at times[0] to times[-1] -> z (B, C, H', W').

    Args:
        given: what to start from.
        sampler: euler or heun.
        velocity: as ``Generator.velocity`` gives it.
        times: ``Generator.times(num_steps, strength=...)``; a single 0 gives the pictures' latents as they are.
    """
    times = times.to(given.z.device)
    rows = len(given.z)
    z_t = given.at(times[0].expand(rows))
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        z_t = STEPS[sampler](velocity, z_t, t.expand(rows), t_next.expand(rows))
        z_t = given.keep(z_t, t_next.expand(rows))
    return z_t


def cells(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """A mask of pixels (B, 1, H, W), 0 keeps -> the latent positions made anew, (B, 1, H', W') bool.

    A position is made anew if any of its pixels is. H and W must be multiples of the grid's sides.
    """
    return F.max_pool2d(mask, (mask.shape[2] // grid[0], mask.shape[3] // grid[1])) > 0


def composite(x_hat: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    """Pixels x_hat where mask (B, 1, H, W) is 1, ``kept`` where it is 0 (both exactly), mixed between.

    A decoder sees across the mask's border; this keeps the picture outside as it was.
    """
    return torch.lerp(kept, x_hat, mask.expand_as(kept).to(kept.dtype))


def picture_pixels(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """A picture scaled to cover ``size`` (H, W) and cut around its centre -> (1, 3, H, W) float32 in [-1, 1]."""
    return to_pixels(as_bytes(_cover(flatten(image), size))[None])


def mask_pixels(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """A mask scaled and cut like its picture -> (1, 1, H, W) float32, 1 where the picture is made anew.

    In a mask with transparency what is transparent is made anew; in any other what is white is.
    """
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        grey = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    else:
        grey = image.convert("L")
    values = np.array(_cover(grey, size), dtype=np.float32) / 255.0
    return torch.from_numpy(values)[None, None]


def batch_of(
    given: Pictures, size: tuple[int, int], count: int, read: Callable[[Image.Image, tuple[int, int]], Tensor]
) -> Tensor:
    """Pictures or tensors, one for all or one each -> (count, ..., H, W) of ``size``.

    Raises:
        ValueError: for another number of them, or a tensor of another size.
    """
    if isinstance(given, Image.Image):
        given = [given]
    rows = given if isinstance(given, Tensor) else torch.cat([read(image, size) for image in given])
    if tuple(rows.shape[2:]) != size:
        raise ValueError(f"tensors must be of the generator's size {size}, got {tuple(rows.shape[2:])}")
    if len(rows) not in (1, count):
        raise ValueError(f"{count} labels need one picture and mask or {count}, got {len(rows)}")
    return rows.expand(count, *rows.shape[1:])


def _cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Masks by box filter, whose values stay between those there are."""
    method = BOX if image.mode == "L" else BICUBIC
    return ImageOps.fit(image, (size[1], size[0]), method=method)
