"""A codebook: K vectors that features are replaced by, and how these vectors follow the features.

A quantizer asks four things of it, in this order: ``prepare`` (the first batch), ``search``, ``lookup``,
``learn``. All that a codebook remembers is in tensors of its state; what it counts is summed over processes.

Letters: N features, K codes, C channels, B batch, S the latent's grid.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import distributed, seeding
from tokenizer.core.config import Config
from tokenizer.layers.estimators import Estimator, estimate
from tokenizer.layers.nearest import nearest
from tokenizer.layers.revival import Anchor, Revival, anchors, draw_rows, pull, reset

Update = Literal["gradient", "ema"]
Distance = Literal["euclidean", "cosine"]
Initialization = Literal["uniform", "batch", "kmeans"]

SMOOTHING = 1e-5
KMEANS_ROUNDS = 10


class Codebook(nn.Module):
    """K codes of C channels.

    Args:
        size: K.
        channels: C.
        update: ``gradient`` makes the codes a parameter; with ``ema`` they are running means of the features
            that chose them.
        distance: ``cosine`` compares directions: features and codes are taken at unit length.
        decay: of the running means and of the running usage, a training pass.
        revival: what becomes of codes that nothing chooses.
        anchor: where ``cvq`` moves them.
        dead_below: with ``reset``, a code is dead whose running share is below this part of an even share, 1/K.
        initialization: ``uniform`` in [-1/K, 1/K]; or from the features of the first training pass: some of them
            (``batch``), or the centres of their clusters (``kmeans``).
        name: sets apart the random draws of several codebooks.

    Source: van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, section 3.2 and
    appendix A.1 (running means); Razavi et al. 2019, VQ-VAE-2, arXiv 1906.00446; Yu et al. 2022, Vector-quantized
    Image Modeling with Improved VQGAN, arXiv 2110.04627, section 3.2 (unit length).
    """

    codebook: Tensor
    usage: Tensor
    counts: Tensor
    sums: Tensor
    passes: Tensor

    def __init__(
        self,
        size: int,
        channels: int,
        *,
        update: Update = "gradient",
        distance: Distance = "euclidean",
        decay: float = 0.99,
        revival: Revival = "none",
        anchor: Anchor = "closest",
        dead_below: float = 0.02,
        initialization: Initialization = "uniform",
        name: str = "codebook",
    ) -> None:
        super().__init__()
        self.size, self.channels, self.name = size, channels, name
        self.update, self.distance, self.decay = update, distance, decay
        self.revival, self.anchor, self.dead_below = revival, anchor, dead_below
        self.initialization = initialization
        codes = torch.empty(size, channels).uniform_(-1.0 / size, 1.0 / size)
        if update == "gradient":
            self.codebook = nn.Parameter(codes)
        else:
            self.register_buffer("codebook", self._placed(codes))
            self.register_buffer("counts", torch.ones(size))
            self.register_buffer("sums", self.codebook.clone())
        if revival != "none":
            # An online-clustered codebook starts from nothing known, so that all codes move to the features first.
            self.register_buffer("usage", torch.full((size,), 1.0 / size if revival == "reset" else 0.0))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    @property
    def codes(self) -> Tensor:
        """The codes as they are compared and sent, (K, C) float32 and without gradient."""
        return self._placed(self.codebook.detach().float())

    def follows(self, h: Tensor) -> bool:
        """Whether this pass moves the codebook: in training, while what it is learned from trains too."""
        trains = self.codebook.requires_grad if self.update == "gradient" else h.requires_grad
        return self.training and trains and torch.is_grad_enabled()

    def place(self, h: Tensor) -> Tensor:
        """Features (N, C) as they are compared: float32, at unit length for the cosine."""
        return self._placed(h.float())

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.distance == "cosine" else vectors

    def search(self, h: Tensor) -> Tensor:
        """The nearest code of each placed feature (N, C): (N,) int64."""
        return nearest(h.detach(), self.codes)[0]

    def lookup(self, indices: Tensor) -> Tensor:
        """Codes (..., C) float32 of indices (...); the gradient goes to a learned codebook."""
        return self._placed(self.codebook[indices].float())

    @torch.no_grad()
    def prepare(self, h: Tensor) -> None:
        """Take the first batch's placed features (N, C) as codes, where the codebook begins so."""
        if self.initialization == "uniform" or int(self.passes) > 0:
            return
        codes = first_codes(h.detach(), self.size, self.name)
        if self.initialization == "kmeans":
            codes = kmeans(h.detach(), self._placed(codes), unit=self.distance == "cosine")
        self._write(self._placed(codes))
        if self.update == "ema":
            self.counts.fill_(1.0)
            self.sums.copy_(self.codebook)

    @torch.no_grad()
    def place_at_centres(self, h: Tensor, rounds: int) -> None:
        """Make the codes the centres of the clusters of features (N, C), whatever they were before."""
        h = self.place(h)
        codes = self._placed(first_codes(h, self.size, self.name))
        self._write(kmeans(h, codes, unit=self.distance == "cosine", rounds=rounds))
        if self.update == "ema":
            self.counts.fill_(1.0)
            self.sums.copy_(self.codebook)
        self.passes += 1

    @torch.no_grad()
    def learn(self, h: Tensor, indices: Tensor, counted: Tensor | None = None) -> Tensor:
        """Follow placed features (N, C) that chose ``indices`` (N,); ``counted`` (N,) leaves some out.

        Returns:
            How many features chose each code, (K,) over all processes.
        """
        weight = torch.ones(len(h), device=h.device) if counted is None else counted.float()
        chosen = distributed.total(torch.zeros(self.size, device=h.device).index_add_(0, indices, weight))
        if self.update == "ema":
            features = h.detach() * weight.unsqueeze(1)
            sums = torch.zeros(self.size, self.channels, device=h.device).index_add_(0, indices, features)
            self._average(chosen, distributed.total(sums))
        if self.revival != "none":
            share = chosen / chosen.sum().clamp_min(1.0)
            self.usage.lerp_(share.to(self.usage), 1.0 - self.decay)
            self._revive(h.detach())
        self.passes += 1
        return chosen

    def _average(self, chosen: Tensor, sums: Tensor) -> None:
        """Running counts and sums, and their ratio with Laplace smoothing of the counts."""
        self.counts.lerp_(chosen.to(self.counts), 1.0 - self.decay)
        self.sums.lerp_(sums.to(self.sums), 1.0 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + SMOOTHING) / (total + self.size * SMOOTHING) * total
        self._write(self._placed(self.sums / smoothed.unsqueeze(1)))

    def _revive(self, h: Tensor) -> None:
        """Bring unused codes to the features; running counts and sums begin anew with them."""
        key = ("revival", self.name, int(self.passes))
        if self.revival == "reset":
            codes, revived = reset(h, self.usage * self.size < self.dead_below, key)
            moved = revived.float()
            self.usage.copy_(torch.where(revived, 1.0 / self.size, self.usage))
        else:
            moved = pull(self.usage.float(), self.decay)
            codes = anchors(h, self.codes, self.anchor, key)
        self._write(self._placed(torch.lerp(self.codes, codes, moved.unsqueeze(1))))
        if self.update == "ema":
            # Were the sums left behind, the next average would carry a revived code back to where it died.
            counts = torch.lerp(self.counts.float(), torch.ones_like(moved), moved)
            sums = torch.lerp(self.sums.float(), self.codes, moved.unsqueeze(1))
            self.counts.copy_(counts)
            self.sums.copy_(sums)

    def _write(self, codes: Tensor) -> None:
        self.codebook.copy_(codes)


@dataclass(frozen=True, slots=True)
class Quantized:
    """What one search of a codebook made of rows.

    Attributes:
        rows: (N, C) the features as they were compared, with gradient.
        z: (N, C) their codes, with the estimator's gradient to the features.
        indices: (N,) int64.
        loss: scalar float32, the commitment weighted.
        chosen: (K,) how many features chose each code; over all processes if the codebook learned from them.
    """

    rows: Tensor
    z: Tensor
    indices: Tensor
    loss: Tensor
    chosen: Tensor


def quantize(book: Codebook, rows: Tensor, *, commitment: float, estimator: Estimator) -> Quantized:
    """Rows (N, C) -> their nearest codes; in training the codebook learns from them.

    The loss is |sg(h) - q|^2 + commitment |h - sg(q)|^2, means over channels and rows; the first term is there
    where codes are a parameter. (Some well-known implementations weight the other term by default.)

    Source: van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, equation 3.
    """
    follows = book.follows(rows)
    rows = book.place(rows)
    if follows:
        book.prepare(rows)
    indices = book.search(rows)
    q = book.lookup(indices)
    loss = commitment * F.mse_loss(rows, q.detach())
    if book.update == "gradient":
        loss = loss + F.mse_loss(q, rows.detach())
    chosen = book.learn(rows, indices) if follows else count(indices, book.size)
    return Quantized(rows, estimate(estimator, rows, q), indices, loss, chosen)


@torch.no_grad()
def first_codes(h: Tensor, size: int, name: str) -> Tensor:
    """Random features of the first batch, (K, C); where there are fewer than K, some again, a little apart."""
    codes = draw_rows(h, size, ("initialization", name))
    rows = distributed.num_rows(h)
    if rows < size:
        noise = torch.randn(codes.shape, generator=seeding.generator("initialization", name, "apart"))
        noise[:rows] = 0.0
        codes = codes + 0.01 * codes.std(dim=0) * noise.to(codes)
    return codes


@torch.no_grad()
def kmeans(h: Tensor, codes: Tensor, *, unit: bool = False, rounds: int = KMEANS_ROUNDS) -> Tensor:
    """Centres of clusters of all processes' features h (N, C), from codes (K, C) on; empty clusters stay.

    ``unit``: centres are brought to unit length (spherical k-means).
    """
    for _ in range(rounds):
        indices = nearest(h, codes)[0]
        counts = torch.zeros(len(codes), device=h.device).index_add_(0, indices, torch.ones_like(h[:, 0]))
        sums = torch.zeros_like(codes).index_add_(0, indices, h)
        counts, sums = distributed.total(counts).unsqueeze(1), distributed.total(sums)
        centres = sums / counts.clamp_min(1.0)
        codes = torch.where(counts > 0, F.normalize(centres, dim=1) if unit else centres, codes)
    return codes


def to_rows(h: Tensor) -> Tensor:
    """h (B, C, *S) -> one row a position (B * S, C) float32."""
    return h.movedim(1, -1).flatten(0, -2).float()


def to_grid(rows: Tensor, shape: torch.Size) -> Tensor:
    """Rows (B * S, C) -> (B, C, *S), ``shape`` that of any tensor (B, _, *S)."""
    return rows.view(shape[0], *shape[2:], -1).movedim(-1, 1)


def usage_stats(chosen: Tensor) -> dict[str, Tensor]:
    """What to log of one pass: ``perplexity`` of the codes chosen, and the share of codes ``used`` at all.

    Args:
        chosen: (K,) how many features chose each code.
    """
    share = chosen.float() / chosen.sum().clamp_min(1.0)
    return {
        "perplexity": torch.special.entr(share).sum().exp(),
        "used": (chosen > 0).float().mean(),
    }


def count(indices: Tensor, size: int) -> Tensor:
    """How many of the indices name each of ``size`` codes, (K,) float32."""
    flat = indices.flatten()
    ones = torch.ones(len(flat), device=flat.device)
    return torch.zeros(size, device=flat.device).index_add_(0, flat, ones)


class CodebookConfig(Config):
    """What every quantizer with a codebook has."""

    codebook_size: int = Field(ge=2, description="codes")
    update: Update = Field(default="gradient", description="codes are a parameter, or running means (ema)")
    distance: Distance = Field(default="euclidean", description="cosine: both sides at unit length")
    commitment: float = Field(default=0.25, ge=0, description="weight of the features' way to their codes")
    estimator: Estimator = Field(
        default="straight_through", description="gradient through the choice of a code"
    )
    decay: float = Field(default=0.99, gt=0, lt=1, description="of running means and usage, a step")
    revival: Revival = Field(default="none", description="of codes that nothing chooses")
    anchor: Anchor = Field(default="closest", description="feature that cvq moves an unused code to")
    dead_below: float = Field(
        default=0.02, gt=0, lt=1, description="part of an even share; for revival reset"
    )
    initialization: Initialization = Field(
        default="uniform", description="or from the first batch's features"
    )

    def build_codebook(self, channels: int, name: str = "codebook") -> Codebook:
        """A codebook of codes with ``channels`` channels."""
        return Codebook(
            self.codebook_size,
            channels,
            update=self.update,
            distance=self.distance,
            decay=self.decay,
            revival=self.revival,
            anchor=self.anchor,
            dead_below=self.dead_below,
            initialization=self.initialization,
            name=name,
        )
