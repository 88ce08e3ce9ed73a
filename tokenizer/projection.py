"""A latent's colours at a glance: the linear map from a position's channels to the mean colour of its pixels.

``tokenizer.stats`` fits it by least squares; previews of generation draw it, at the price of one small matrix product.
It stands in ``config.json`` beside the spec, not in it: a view of the latents is no part of their identity, so
fitting it again leaves ``spec_id`` as it is.

Letters: B batch, C latent channels, h w latent positions, H W pixels.
"""

import torch
from einops import rearrange, reduce
from pydantic import model_validator
from torch import Tensor

from tokenizer.core.config import Config
from tokenizer.data.transforms import to_uint8
from tokenizer.spec import PartSpec

_DIGITS = 6


class Projection(Config):
    """rgb = weights @ z + bias for every position of a normalised latent; colours in [-1, 1].

    Attributes:
        weights: of red, green and blue, C values each.
        bias: of red, green and blue.
        explained: share of the variance of the positions' mean colours that it gives, over the pictures
            it was fitted on.
    """

    weights: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    bias: tuple[float, float, float]
    explained: float

    @model_validator(mode="after")
    def _rectangular(self) -> "Projection":
        if len({len(row) for row in self.weights}) != 1:
            raise ValueError("weights need the same number of channels for red, green and blue")
        return self

    def rgb(self, z: Tensor) -> Tensor:
        """Normalised z (B, C, ...) -> colours (B, 3, ...) float32, about [-1, 1], not clamped.

        Raises:
            ValueError: if the latent has another number of channels.
        """
        if z.shape[1] != len(self.weights[0]):
            raise ValueError(
                f"this projection is of {len(self.weights[0])} channels, the latent has {z.shape[1]}: "
                "take the projection of the tokenizer that made the latent"
            )
        weights = torch.tensor(self.weights, device=z.device)
        bias = torch.tensor(self.bias, device=z.device).view(3, *(1,) * (z.ndim - 2))
        return torch.einsum("kc,bc...->bk...", weights, z.float()) + bias

    def pixels(self, z: Tensor) -> Tensor:
        """Normalised z (B, C, h, w) -> a picture of one pixel a position, uint8 (B, h, w, 3)."""
        return rearrange(to_uint8(self.rgb(z)), "b c h w -> b h w c").contiguous()


class ColourMoments:
    """Sums of products of raw latents and mean colours in float64, from which the least squares fit follows.

    Additive over any order of batches; a constant 1 stands behind the channels.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.products = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
        self.cross = torch.zeros(channels + 1, 3, dtype=torch.float64)
        self.squares = torch.zeros(3, dtype=torch.float64)

    def add(self, z: Tensor, x: Tensor) -> None:
        """Count raw z (B, C, h, w) and the pixels x (B, 3, H, W) it was made of, H and W multiples of h and w."""
        height, width = z.shape[2:]
        colours = reduce(x.detach().float(), "b c (h p) (w q) -> (b h w) c", "mean", h=height, w=width)
        colours = colours.cpu().double()
        values = rearrange(z.detach(), "b c h w -> (b h w) c").cpu().double()
        rows = torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], dim=1)
        self.count += len(rows)
        self.products += rows.T @ rows
        self.cross += rows.T @ colours
        self.squares += colours.square().sum(dim=0)

    def fit(self, part: PartSpec) -> Projection:
        """The projection of latents that ``part`` normalises; of several that fit equally, the smallest.

        Raises:
            ValueError: if the part has no statistics, or nothing was counted.
        """
        if part.mean is None or part.std is None or not self.count:
            raise ValueError("a projection needs the latent's mean and std and at least one picture")
        mean = torch.tensor(part.mean, dtype=torch.float64)
        std = torch.tensor(part.std, dtype=torch.float64)
        # a row (z, 1) of raw latents times this is the row of normalised ones
        normalise = torch.eye(part.channels + 1, dtype=torch.float64)
        normalise[:-1, :-1] = torch.diag(1 / std)
        normalise[-1, :-1] = -mean / std
        products = normalise.T @ self.products @ normalise / self.count
        cross = normalise.T @ self.cross / self.count
        # gelsd: a code may have channels that never change, which leaves several solutions
        solution = torch.linalg.lstsq(products, cross, driver="gelsd").solution  # C+1 3
        squares = self.squares / self.count
        variance = float((squares - cross[-1].square()).sum())
        left = float(
            (squares - 2 * (solution * cross).sum(0) + (solution * (products @ solution)).sum(0)).sum()
        )
        explained = 1.0 - left / variance if variance > 0 else 1.0
        *weights, bias = solution.tolist()
        red, green, blue = ([round(row[colour], _DIGITS) for row in weights] for colour in range(3))
        return Projection.parse(
            {
                "weights": (red, green, blue),
                "bias": [round(value, _DIGITS) for value in bias],
                "explained": round(min(1.0, max(0.0, explained)), 4),
            }
        )
