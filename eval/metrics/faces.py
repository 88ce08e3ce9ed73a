"""Face similarity: whether the faces of a reconstruction are still those of the same people.

The faces are found in the original, and their five points are used in both pictures, so that a face too broken to be
found is not left out. TokBench takes points from its annotations; apart from that this is its F-Sim.
Source: Wu et al. 2025, TokBench: Evaluating Your Visual Tokenizer before Visual Generation, arXiv 2505.18142.

Letters: B pictures in a batch.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.faces import FaceDetector, FaceRecognizer, load_faces
from eval.metrics.score import Score, check_pair, ratio_score
from eval.protocols import Domain, EvaluationProtocol
from eval.rows import Rows
from eval.weights import WeightsConfig, WeightsRecord

# sides of a face over the picture's, between which TokBench counts small, medium and large ones, by size of picture
SIZES = {256: (0.1, 0.2, 0.3), 512: (0.05, 0.1, 0.2), 1024: (0.02, 0.05, 0.1)}
NAMES = ("small", "medium", "large")


class FaceSimilarity:
    """Mean cosine over all faces of the originals between the embeddings of both pictures; at most 1."""

    higher_is_better = True
    domain: Domain = "uint8"

    def __init__(
        self,
        protocol: EvaluationProtocol,
        detector: FaceDetector,
        recognizer: FaceRecognizer,
        weights: tuple[WeightsRecord, ...],
    ) -> None:
        self.protocol = protocol
        self.detector = detector
        self.recognizer = recognizer
        self.weights = weights
        self._sums = Rows()

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: uint8 pictures (B, 3, H, W) both."""
        check_pair(real, fake)
        rows = [self._compare(x, y) for x, y in zip(real.cpu(), fake.cpu(), strict=True)]
        self._sums.add(torch.stack(rows), keys)

    def _compare(self, real: Tensor, fake: Tensor) -> Tensor:
        """One picture -> float64 (6,): the sums of cosines of small, medium and large faces, then their numbers."""
        found = self.detector(real)
        row = torch.zeros(2 * len(NAMES), dtype=torch.float64)
        if not len(found.boxes):
            return row
        similar = (self.recognizer(real, found.points) * self.recognizer(fake, found.points)).sum(dim=1)
        shares = (found.boxes[:, 2:] - found.boxes[:, :2]).amax(dim=1) / max(real.shape[-2:])
        for share, value in zip(shares.tolist(), similar.tolist(), strict=True):
            if (group := size_group(share, max(real.shape[-2:]))) is not None:
                row[group] += value
                row[len(NAMES) + group] += 1
        return row

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._sums.merge(other._sums)

    def compute(self) -> Score:
        """The mean over faces; ``mean_of_sizes`` is that of the three groups, TokBench's last column.

        Raises:
            NotComputedError: if no original holds a face that is large enough.
        """
        table = self._sums.table()
        sums, counts = table[:, : len(NAMES)], table[:, len(NAMES) :]
        if not bool(counts.sum() > 0):
            raise NotComputedError("faces in the original pictures", "there are none that the detector finds")
        means = (sums.sum(dim=0) / counts.sum(dim=0)).tolist()
        details: dict[str, float | int | str] = {"faces": int(counts.sum())}
        for name, mean, count in zip(NAMES, means, counts.sum(dim=0).tolist(), strict=True):
            details[f"{name}_faces"] = int(count)
            if count:
                details[f"{name}_similarity"] = mean
        if bool((counts.sum(dim=0) > 0).all()):
            details["mean_of_sizes"] = sum(means) / len(means)
        interval = self.protocol.interval
        return ratio_score(
            sums.sum(dim=1).tolist(),
            counts.sum(dim=1).tolist(),
            resamples=interval.resamples,
            seed=interval.seed,
            details=details,
        )


def size_group(share: float, side: int) -> int | None:
    """0 to 2 for a face that takes this share of the side of a picture so large; none below the smallest group."""
    edges = SIZES[min(SIZES, key=lambda known: abs(known - side))]
    above = [edge for edge in edges if share >= edge]
    return len(above) - 1 if above else None


def load_face_similarity(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device
) -> FaceSimilarity:
    """The metric over antelopev2's two networks, on the CPU.

    Raises:
        NotComputedError: if their files or onnxruntime are not on this machine.
    """
    detector, recognizer, records = load_faces(weights)
    return FaceSimilarity(protocol, detector, recognizer, records)
