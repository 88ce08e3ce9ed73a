"""rFVD: the Frechet distance between clips and their reconstructions in the logits of an I3D network.

Source: Unterthiner et al. 2018, Towards Accurate Generative Models of Video: A New Metric and Challenges, arXiv
    1812.01717, section 3.

Letters: N clips, T frames, H W rows and columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.frechet import frechet_distance_of_sets, is_few
from eval.metrics.sets import around
from eval.protocols import Domain
from eval.protocols.video import FVDSettings, I3DVariant, VideoProtocol
from eval.video.i3d import MIN_FRAMES, as_network_sees, load_extractor
from eval.video.score import ClipScore, check_frames
from eval.weights import WeightsConfig, WeightsRecord


class FVD:
    """The distance over all clips, or the mean of those over groups of them, as the protocol says.

    A clip is held until its last frame, at 224x224, or until the protocol's number of frames is reached.
    """

    higher_is_better = False

    def __init__(
        self,
        protocol: VideoProtocol,
        settings: FVDSettings,
        extract: Callable[[Tensor], Tensor],
        weights: tuple[WeightsRecord, ...],
    ) -> None:
        self.protocol = protocol
        self.settings = settings
        self.extract = extract
        self.weights = weights
        self._clip: int | None = None
        self._held: list[tuple[Tensor, Tensor]] = []
        self._features: list[tuple[Tensor, Tensor]] = []

    @property
    def domain(self) -> Domain:
        """The form of the frames."""
        return self.settings.domain

    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Add frames (T, 3, H, W) of a clip."""
        check_frames(real, fake, self.domain)
        if clip != self._clip:
            self._finish()
            self._clip = clip
        have = sum(seen.shape[2] for seen, _ in self._held)
        room = len(real) if self.settings.max_frames is None else self.settings.max_frames - have
        if room > 0:
            pair = (as_network_sees(x[:room], self.settings).cpu() for x in (real, fake))
            self._held.append((next(pair), next(pair)))

    def compute(self) -> ClipScore:
        """The distance.

        Raises:
            NotComputedError: with fewer than two clips.
            ValueError: if a clip is shorter than the network can see.
        """
        self._finish()
        self._clip = None
        if len(self._features) < 2:
            raise NotComputedError("at least 2 clips", "give more videos")
        real, fake = (torch.cat([pair[side] for pair in self._features]) for side in (0, 1))
        value = self._distance(real, fake)
        generator = torch.Generator().manual_seed(self.protocol.interval.seed)
        drawn = []
        for _ in range(self.protocol.interval.fid_resamples):
            rows = torch.randint(len(real), (len(real),), generator=generator)
            drawn.append(self._distance(real[rows], fake[rows]))
        spread = float(torch.tensor(drawn, dtype=torch.float64).std())
        details: dict[str, float | int | str] = {
            "network": f"I3D of {self.settings.variant}",
            "num_features": real.shape[1],
            "interval": "value +- 1.96 std of a bootstrap",
        }
        if self.settings.group is not None:
            details["warning"] = f"a mean of distances within groups of {self.settings.group} clips: not rFVD"
        elif is_few(real, fake):
            details["warning"] = (
                f"fewer clips than the {real.shape[1]} features: biased upwards, compare only at equal numbers"
            )
        return ClipScore(value, around(value, spread, at_least=0.0), len(real), details)

    def _distance(self, real: Tensor, fake: Tensor) -> float:
        if self.settings.group is None:
            return frechet_distance_of_sets(real, fake)
        pairs = zip(*(torch.split(x, self.settings.group) for x in (real, fake)), strict=True)
        distances = [frechet_distance_of_sets(a, b) for a, b in pairs if len(a) > 1]
        return sum(distances) / len(distances)

    def _finish(self) -> None:
        """Features of the clip that is held."""
        if not self._held:
            return
        real, fake = (torch.cat([pair[side] for pair in self._held], dim=2) for side in (0, 1))
        self._held = []
        if real.shape[2] < MIN_FRAMES:
            raise ValueError(f"rFVD needs clips of at least {MIN_FRAMES} frames, got {real.shape[2]}")
        self._features.append((self.extract(real), self.extract(fake)))


def load_fvd(
    protocol: VideoProtocol, weights: WeightsConfig, device: torch.device, *, variant: I3DVariant
) -> FVD:
    """The metric over one network, which the name tells.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    extract, record = load_extractor(variant, weights, device)
    settings = protocol.fvd.model_copy(update={"variant": variant})
    return FVD(protocol, settings, extract, (record,))
