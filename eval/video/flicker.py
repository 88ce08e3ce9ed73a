"""Temporal flicker: how much the error of a reconstruction changes from one frame to the next.

With the error e_t = fake_t - real_t of frame t, the flicker of frame t is the mean over its pixels and colours of
|e_t - e_(t-1)| = |(fake_t - fake_(t-1)) - (real_t - real_(t-1))|, a difference of differences, in grey levels. It is 0
where the error stands still, however large it is, and 2 a where frames are a too bright and a too dark in turn.

Letters: T frames, H W rows and columns.
"""

import torch
from torch import Tensor

from eval.protocols import Domain
from eval.protocols.video import VideoProtocol
from eval.video.score import ClipScore, FrameValues, check_frames, clip_score
from eval.weights import WeightsRecord


class Flicker:
    """Mean over clips of the mean flicker of their frames; a clip's first frame has none.

    ``relative`` is the same over the mean change of the originals from frame to frame, infinite where nothing moves.
    """

    higher_is_better = False
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: VideoProtocol) -> None:
        self.protocol = protocol
        self._changes = FrameValues()
        self._motion = FrameValues()
        self._last: tuple[int, Tensor, Tensor] | None = None  # clip, its last original and its last error

    @property
    def domain(self) -> Domain:
        """The form of the frames."""
        return self.protocol.flicker.domain

    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Add frames (T, 3, H, W) of a clip."""
        check_frames(real, fake, self.domain)
        real, error = _levels(real, self.domain), _levels(fake, self.domain) - _levels(real, self.domain)
        before = self._last if self._last is not None and self._last[0] == clip else None
        self._last = (clip, real[-1:].clone(), error[-1:].clone())
        if before is not None:
            real, error = torch.cat([before[1], real]), torch.cat([before[2], error])
        else:
            self._changes.add(torch.tensor([torch.nan]), clip)
            self._motion.add(torch.tensor([torch.nan]), clip)
        if len(real) > 1:
            self._changes.add(_steps(error), clip)
            self._motion.add(_steps(real), clip)

    def compute(self) -> ClipScore:
        """The score in grey levels.

        Raises:
            ValueError: if no clip has two frames.
        """
        frames = self._changes.clips()
        moving = [values for values in frames if len(values) > 1]
        if not moving:
            raise ValueError("flicker needs clips of at least 2 frames")
        per_clip = [float(values[1:].mean()) for values in moving]
        motion = torch.cat([values[1:] for values in self._motion.clips()]).mean()
        details: dict[str, float | int | str] = {"unit": "grey levels", "motion": float(motion)}
        mean = sum(per_clip) / len(per_clip)
        if motion > 0:
            details["relative"] = mean / float(motion)
        return clip_score(per_clip, frames, self.protocol.interval, details)


def _levels(x: Tensor, domain: Domain) -> Tensor:
    """Frames in grey levels, float32; uint8 is exact in it."""
    return x.float().cpu() if domain == "uint8" else x.float().cpu() * 127.5


def _steps(values: Tensor) -> Tensor:
    """Mean absolute change of each frame but the first, float64 (T - 1,)."""
    return (values[1:] - values[:-1]).abs().double().flatten(1).mean(dim=1)
