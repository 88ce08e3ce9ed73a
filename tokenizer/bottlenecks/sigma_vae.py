"""A Gaussian posterior whose variance is not learned but drawn, so that it cannot collapse.

Letters: B batch, C latent channels, S the latent's grid.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput, Codes, refuse_indices
from tokenizer.core.config import Config


class SigmaVAE(nn.Module):
    """z = mean + s * noise with s drawn once a sample, s ~ |N(0, sigma^2)|; the mode is the mean.

    The loss is mean^2 / 2, all that depends on the encoder in the divergence from the standard normal.
    Of its noise, the first C channels go to the latent and the first position of the last one decides s.

    Args:
        latent_channels: C.
        sigma: scale of s, in units of the raw latent.

    Source: Sun et al. 2024, Multimodal Latent Language Modeling with Next-Token Diffusion (LatentLM),
    arXiv 2412.08635, section 2.3. Theirs draws s ~ N(0, sigma^2), whose sign changes nothing.
    """

    def __init__(self, latent_channels: int, sigma: float) -> None:
        super().__init__()
        self.input_channels = latent_channels
        self.noise_channels = latent_channels + 1
        self.codes: Codes | None = None
        self.sigma = sigma

    def forward(self, h: Tensor, *, sample: bool = False, noise: Tensor | None = None) -> BottleneckOutput:
        """h (B, C, *S) -> z of the same shape; ``noise`` (B, C + 1, *S) standard normal."""
        loss = 0.5 * h.float().square().mean()
        z = h
        if sample:
            shape = (h.shape[0], self.noise_channels, *h.shape[2:])
            noise = torch.randn(shape, device=h.device) if noise is None else noise.to(h.device)
            noise = noise.float()
            s = self.sigma * noise[:, -1].flatten(1)[:, 0].abs().view(-1, *(1,) * (h.ndim - 1))
            z = h + (s * noise[:, :-1]).to(h.dtype)
        return BottleneckOutput(z=z, loss=loss, stats={"mean_square": 2.0 * loss.detach()})

    def decode_indices(self, indices: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Always an error: this latent is continuous."""
        refuse_indices()


class SigmaVAEConfig(Config):
    """Gaussian posterior of fixed, randomly drawn variance (sigma-VAE of LatentLM, arXiv 2412.08635)."""

    kind: Literal["sigma_vae"] = "sigma_vae"
    sigma: float = Field(
        0.5, gt=0, description="scale of the drawn standard deviation, in units of the raw latent"
    )

    def build(self, latent_channels: int) -> SigmaVAE:
        """The module."""
        return SigmaVAE(latent_channels, self.sigma)
