"""A prior that reads the codes in order and guesses the next one, trained with the tokenizer (LARP).

What it cannot guess is a penalty whose gradient reaches the encoder through the codes that were read, so that codes
become easier to guess: the row, or the grid row by row, gets an order that a generator of tokens can follow.

Letters: B batch, C latent channels, N tokens, K codes, D width of the prior.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import distributed, seeding
from tokenizer.layers.precision import full_precision
from tokenizer.layers.transformer import Attention, Block, GELUFeedForward, init_linear
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec

MAX_CODES = 2**18


class ARPrior(Regularizer):
    """The mean cross-entropy, in nats, of the next code given those before it.

    Two rounds are averaged: the first reads the true codes; the second reads, in a share of the places that grows from
    0 to ``mixed`` over the first ``ramp_images`` pictures, codes drawn from what the first round predicted (scheduled
    sampling), so that the prior also learns to go on from its own mistakes.

    Args:
        channels: C.
        codebook_size: K.
        num_tokens: N at most.
        width: D.
        depth: blocks.
        heads: of the attention.
        mixed: largest share of drawn codes in the second round; 0: one round.
        ramp_images: pictures until it is reached.

    Source: Wang et al. 2024, LARP: Tokenizing Videos with a Learned Autoregressive Generative Prior, arXiv 2410.21264,
    section 3.3 and its released code. The authors score codes by their product with a predicted vector; here one
    linear map scores them, so that every bottleneck with codes can have a prior.
    """

    codes: Tensor
    images: Tensor

    def __init__(
        self,
        channels: int,
        codebook_size: int,
        num_tokens: int,
        *,
        width: int,
        depth: int,
        heads: int,
        mixed: float,
        ramp_images: int,
    ) -> None:
        super().__init__()
        self.mixed = mixed
        self.ramp_images = ramp_images
        self.embed = nn.Linear(channels, width)
        self.places = nn.Parameter(0.02 * torch.randn(num_tokens, width))
        self.blocks = nn.ModuleList(
            Block(width, Attention(width, heads, bias=True), GELUFeedForward(width, True))
            for _ in range(depth)
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.score = nn.Linear(width, codebook_size)
        self.register_buffer("codes", torch.zeros(codebook_size, channels))  # as they were seen last
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.apply(init_linear)

    def logits(self, z: Tensor) -> Tensor:
        """Tokens as they are read (B, N, C) -> scores of each next code (B, N - 1, K) float32."""
        x = self.embed(z[:, :-1]) + self.places[: z.shape[1] - 1].to(z)
        seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=z.device).tril()
        for block in self.blocks:
            x = block(x, None, seen)
        scores: Tensor = self.score(self.norm_out(x))
        return scores.float()

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor | None:
        """Scalar >= 0, nats a token; None where a row has a single token.

        Raises:
            ValueError: if the latent is continuous.
        """
        if step.bottleneck.indices is None:
            raise ValueError("ar_prior: a continuous latent has no codes to guess")
        z = step.bottleneck.z.flatten(2).transpose(1, 2)  # (B, N, C), with the estimator's gradient
        indices = step.bottleneck.indices.flatten(1)
        if indices.shape[1] < 2:
            return None
        targets = indices[:, 1:].flatten()
        first = self.logits(z)
        loss = F.cross_entropy(first.flatten(0, 1), targets)
        if self.mixed == 0:
            return loss
        self._remember(z.detach(), indices)
        drawn, replaced = self._drawn(first.detach(), step.keys)
        later = torch.where(replaced.unsqueeze(2), self.codes[drawn].to(z), z[:, 1:])
        second = self.logits(torch.cat([z[:, :1], later], dim=1))
        return 0.5 * (loss + F.cross_entropy(second.flatten(0, 1), targets))

    @property
    def share(self) -> float:
        """Of drawn codes, now."""
        return self.mixed * min(1.0, int(self.images) / self.ramp_images if self.ramp_images else 1.0)

    @torch.no_grad()
    def _remember(self, z: Tensor, indices: Tensor) -> None:
        """Keep what each code looks like, of those that occur; and count the pictures."""
        self.codes[indices.flatten()] = z.flatten(0, 1).to(self.codes)
        if self.training:
            self.images += distributed.num_rows(z)

    @torch.no_grad()
    def _drawn(self, scores: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """A code from each of ``scores`` (B, N - 1, K), and whether it is read instead of the true one, (B, N - 1).

        Draws come from the samples' keys.
        """
        batch, count = scores.shape[:2]
        rows = torch.arange(batch) if keys is None else keys
        noise = torch.stack(
            [
                torch.rand(2, count, generator=seeding.generator(int(row), "scheduled sampling"))
                for row in rows
            ]
        ).to(scores.device)
        with full_precision(scores.device):
            ladder = scores.softmax(dim=2).cumsum(dim=2)
            level = (noise[:, 0] * ladder[..., -1]).unsqueeze(2)
            drawn = torch.searchsorted(ladder, level, right=True).squeeze(2)
        return drawn.clamp(max=scores.shape[2] - 1), noise[:, 1] < self.share


class ARPriorConfig(RegularizerSettings):
    """A prior over the order of the codes, trained along (LARP, arXiv 2410.21264); the sizes are its released ones.

    The penalty is in nats a token; LARP weighs it 0.06.
    """

    kind: Literal["ar_prior"] = "ar_prior"
    weight: float = Field(default=0.06, ge=0, description="of its penalty, nats a token")
    width: int = Field(384, ge=8)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    side: int | None = Field(
        default=None, ge=1, description="most positions a side of a grid; a row has its number of tokens"
    )
    mixed: float = Field(0.5, ge=0, le=1, description="share of the prior's own codes that it reads; 0: none")
    ramp_images: int = Field(0, ge=0, description="pictures until this share is reached")

    def check(self, part: PartSpec) -> None:
        """ValueError where the latent has no codes, too many of them, or no known length."""
        if part.codebook_size is None:
            raise ValueError(
                "ar_prior: the latent is continuous; a prior over codes needs a discrete bottleneck"
            )
        if part.codebook_size > MAX_CODES:
            raise ValueError(
                f"ar_prior: {part.codebook_size} codes cannot be scored one by one; at most {MAX_CODES}"
            )
        if part.num_codebooks != 1 or part.scales is not None:
            raise ValueError(
                "ar_prior: one index a position is guessed; this latent has several codebooks or scales"
            )
        if part.layout != "1d" and self.side is None:
            raise ValueError("ar_prior: of a grid, give side, the most positions it has a side in training")
        if self.width % self.heads:
            raise ValueError(f"ar_prior: width {self.width} must be a multiple of heads, {self.heads}")

    def build(self, part: PartSpec) -> ARPrior:
        """The regularizer; ValueError as ``check``."""
        self.check(part)
        assert part.codebook_size is not None
        tokens = part.token_range[1] if part.layout == "1d" else (self.side or 0) ** 2
        return ARPrior(
            part.channels,
            part.codebook_size,
            tokens,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mixed=self.mixed,
            ramp_images=self.ramp_images,
        )
