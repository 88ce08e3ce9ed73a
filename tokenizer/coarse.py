"""Coarse labels for the codes of a trained discrete tokenizer: codes that look alike get one label.

``python -m tokenizer.coarse source=RUN clusters=N out=FILE.safetensors``, and with ``data.path=PICTURES`` what a
picture loses when only the labels are right.

A generator that has labels predicts the coarse label of a token first, one of N instead of one of K, and then which of
the cluster's codes it is: ``labels.coarse_of(indices)`` and ``labels.members_of(coarse)`` are what the two steps need,
``labels.split(indices)`` and ``labels.join(coarse, fine)`` go there and back.

Source: Guo et al. 2025, Improving Autoregressive Image Generation through Coarse-to-Fine Token Prediction, arXiv
2503.16194, section 3 (k-means over the codebook; tokens of one cluster exchanged change little).

Letters: K codes, C channels, N clusters, B pictures.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokenizer.core import seeding
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.layers.codebook import kmeans
from tokenizer.layers.nearest import nearest
from tokenizer.loading import load
from tokenizer.model import Autoencoder
from tokenizer.preview import psnr
from tokenizer.spec import Latent
from tokenizer.stats import StatsData, pictures

FORMAT = "tessera coarse labels 1"


@dataclass(frozen=True, slots=True)
class CoarseLabels:
    """A partition of the codes: index <-> (coarse label, place within its cluster) is one to one.

    Attributes:
        coarse: (K,) int64, the cluster of each code, 0 to N - 1; every cluster has a code.
        fine: (K,) int64, the place of each code within its cluster, 0 the code nearest to the centre.
        spec_id: the latent space whose codes these are.
    """

    coarse: Tensor
    fine: Tensor
    spec_id: str

    @property
    def num_clusters(self) -> int:
        """N."""
        return int(self.coarse.max()) + 1

    @property
    def sizes(self) -> Tensor:
        """Codes of each cluster, (N,)."""
        return torch.bincount(self.coarse, minlength=self.num_clusters)

    def coarse_of(self, indices: Tensor) -> Tensor:
        """Indices of any shape -> their coarse labels."""
        return self.coarse.to(indices.device)[indices.long()]

    def split(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of any shape -> (coarse labels, places within the clusters)."""
        return self.coarse_of(indices), self.fine.to(indices.device)[indices.long()]

    def join(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The inverse of ``split``.

        Raises:
            ValueError: if a cluster has no such place.
        """
        table = self._table().to(coarse.device)
        if int(fine.max()) >= table.shape[1] or int((found := table[coarse.long(), fine.long()]).min()) < 0:
            raise ValueError("a place is beyond the end of its cluster: see sizes")
        return found

    def members_of(self, coarse: Tensor) -> Tensor:
        """Coarse labels (...) -> (..., K) bool, the codes that a token with this label may be."""
        return self.coarse.to(coarse.device) == coarse.unsqueeze(-1)

    def centres(self) -> Tensor:
        """The code nearest to the centre of each cluster, (N,): what a label alone stands for."""
        return self._table()[:, 0]

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        tensors = {"coarse": self.coarse.to(torch.int32), "fine": self.fine.to(torch.int32)}
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file, metadata={"format": FORMAT, "spec_id": self.spec_id})

    @classmethod
    def load(cls, file: Path, spec_id: str | None = None) -> "CoarseLabels":
        """Read what ``save`` wrote.

        Raises:
            ValueError: if the file holds something else, or labels of another latent space than ``spec_id``.
        """
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(
                    f"{file} holds no coarse labels: make them with `python -m tokenizer.coarse`"
                )
            found = cls(
                opened.get_tensor("coarse").long(), opened.get_tensor("fine").long(), metadata["spec_id"]
            )
        if spec_id is not None and found.spec_id != spec_id:
            raise ValueError(
                f"{file} has labels for codes of spec {found.spec_id}, this tokenizer is {spec_id}"
            )
        return found

    def _table(self) -> Tensor:
        """Codes by cluster and place, (N, codes of the largest), -1 beyond a cluster's end."""
        table = torch.full((self.num_clusters, int(self.sizes.max())), -1, dtype=torch.int64)
        table[self.coarse, self.fine] = torch.arange(len(self.coarse))
        return table


@torch.no_grad()
def codes_of(tokenizer: Autoencoder) -> Tensor:
    """Every code of a tokenizer as its decoder reads it, (K, C) float32.

    Raises:
        ValueError: if the latent is continuous, has several indices a position, or a code depends on its position.
    """
    part = tokenizer.spec.z
    if part.codebook_size is None:
        raise ValueError("the latent is continuous: there are no codes to label")
    if part.num_codebooks != 1 or part.scales is not None:
        raise ValueError(
            "labels are for one index a position; this tokenizer has several codebooks or scales"
        )
    device = next(iter(tokenizer.state_dict().values())).device
    pairs = torch.arange(part.codebook_size, device=device)[:, None].expand(-1, 2)
    grid = (2,) if part.layout == "1d" else (1, 2)
    z = tokenizer.bottleneck.decode_indices(pairs.reshape(-1, *grid), grid).float().flatten(2)  # (K, C, 2)
    if not torch.equal(z[..., 0], z[..., 1]):
        raise ValueError(
            "the same index means another code at another position here: labels would not be alike"
        )
    codes: Tensor = z[..., 0].cpu()
    return codes


@torch.no_grad()
def cluster(codes: Tensor, clusters: int, *, seed: int = 0, rounds: int = 100) -> tuple[Tensor, Tensor]:
    """k-means over codes (K, C): (coarse, fine) as in ``CoarseLabels``; clusters that lose all codes are left out.

    Raises:
        ValueError: if there are not fewer clusters than codes.

    Source: Arthur and Vassilvitskii 2007, k-means++: The Advantages of Careful Seeding (where it begins).
    """
    if not 1 <= clusters < len(codes):
        raise ValueError(f"clusters must be 1 to {len(codes) - 1}, fewer than the codes; got {clusters}")
    centres = kmeans(codes, _spread(codes, clusters, seed), rounds=rounds)
    label = nearest(codes, centres)[0]
    label = torch.unique(label, return_inverse=True)[1]  # without the empty ones
    centres = torch.stack([codes[label == index].mean(dim=0) for index in range(int(label.max()) + 1)])
    away = (codes - centres[label]).square().sum(dim=1)
    fine = torch.zeros_like(label)
    for index in range(len(centres)):
        own = (label == index).nonzero().squeeze(1)
        fine[own[away[own].argsort(stable=True)]] = torch.arange(len(own))
    return label, fine


def _spread(codes: Tensor, count: int, seed: int) -> Tensor:
    """Codes to begin from, each drawn in proportion to its squared distance from those before."""
    generator = seeding.generator(seed, "coarse labels")
    chosen = [int(torch.randint(len(codes), (), generator=generator))]
    away = (codes - codes[chosen[0]]).square().sum(dim=1).double()
    for _ in range(count - 1):
        weights = away if float(away.sum()) > 0 else torch.ones_like(away)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        away = torch.minimum(away, (codes - codes[chosen[-1]]).square().sum(dim=1).double())
    return codes[chosen].clone()


@dataclass(frozen=True, slots=True)
class Loss:
    """Mean PSNR in dB of pictures decoded from their codes, and from others.

    Attributes:
        codes: as they are.
        same_cluster: each replaced by a random code of its cluster.
        centre: each replaced by the code nearest to its cluster's centre.
        any_code: each replaced by a random code.
    """

    codes: float
    same_cluster: float
    centre: float
    any_code: float


@torch.no_grad()
def exchange(
    tokenizer: Autoencoder, labels: CoarseLabels, data: StatsData, device: str = "cpu", seed: int = 0
) -> Loss:
    """What pictures lose when labels are right and codes are not."""
    name, scores = tokenizer.spec.z.name, {field: list[Tensor]() for field in Loss.__slots__}
    generator = seeding.generator(seed, "exchange")
    for x in pictures(data, device):
        latent = tokenizer.encode(x)
        indices = latent.indices[name]
        coarse, _ = labels.split(indices)
        draw = torch.rand(indices.shape, generator=generator).to(indices.device)
        place = (draw * labels.sizes.to(indices.device)[coarse]).long()
        others = {
            "codes": indices,
            "same_cluster": labels.join(coarse, place),
            "centre": labels.join(coarse, torch.zeros_like(place)),
            "any_code": (draw * len(labels.coarse)).long(),
        }
        for field, changed in others.items():
            x_hat = tokenizer.decode(Latent({}, latent.size, latent.spec_id, {name: changed}))
            scores[field].append(psnr(x_hat, x).cpu())
    return Loss(**{field: float(torch.cat(values).mean()) for field, values in scores.items()})


class CoarseConfig(Config):
    """Label the codes of a trained discrete tokenizer: similar codes share a coarse label (CTF, arXiv 2503.16194)."""

    source: str = Field(description="a tokenizer with codes: a folder or a bundled name")
    clusters: int = Field(ge=1, description="coarse labels, fewer than codes")
    out: Path = Field(description="file to write, safetensors")
    rounds: int = Field(default=100, ge=1, description="of k-means")
    seed: int = 0
    data: StatsData | None = Field(
        default=None, description="pictures to see what the labels alone are worth"
    )
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


def run(config: CoarseConfig) -> tuple[CoarseLabels, Loss | None]:
    """Label, write, and try on pictures if there are some.

    Raises:
        ValueError: if the tokenizer has no codes of one kind, or not more codes than clusters.
    """
    tokenizer = load(config.source, device=config.device)
    coarse, fine = cluster(codes_of(tokenizer), config.clusters, seed=config.seed, rounds=config.rounds)
    labels = CoarseLabels(coarse, fine, tokenizer.spec_id)
    labels.save(config.out)
    found = None
    if config.data is not None:
        found = exchange(tokenizer, labels, config.data, config.device, config.seed)
    return labels, found


def main(argv: list[str] | None = None) -> None:
    """The command; a refusal is one line and exit status 2."""
    config = from_cli(CoarseConfig, "tokenizer.coarse", None, argv)
    with refusals("tokenizer.coarse"):
        labels, found = run(config)
    sizes = labels.sizes
    told = {
        "codes": len(labels.coarse),
        "clusters": labels.num_clusters,
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
    }
    if found is not None:
        told |= {f"psnr_{field}": round(getattr(found, field), 2) for field in Loss.__slots__}
    sys.stdout.write(f"{config.out}: {json.dumps(told)}\n")


if __name__ == "__main__":
    main()
