"""The rate of a tokenizer beside picture codecs: points from files, curves of the codecs, and both at equal size.

Letters: N pictures, R resolution.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.measures.picture_codecs import CODECS, CodecName, CodecSearch, Coded
from eval.protocols import EvaluationProtocol
from eval.rate import coder
from eval.rate.points import CPU, METRICS, CodedSet, point, settings
from eval.rate.record import CodecPoint, Match, RatePoint, RateRecord
from eval.report import Computed, Panel
from eval.weights import WeightsConfig
from tokenizer.model import Tokenizer

CURVE_QUALITIES = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


def measure(
    tokenizer: Tokenizer,
    pictures: Tensor,
    *,
    steps: Sequence[float],
    codecs: Sequence[CodecName],
    folder: Path,
    protocol: EvaluationProtocol,
    batch_size: int,
    device: torch.device,
) -> RateRecord:
    """Measure pictures, uint8 (N, 3, R, R); files go to ``folder``/rate.

    Raises:
        EvaluationError: if there are fewer than 2 pictures, or a file does not come back bit for bit.
    """
    try:
        coder_name = coder.name()
    except NotComputedError as error:
        return RateRecord(missing={"rate": str(error)})
    if len(tokenizer.spec.parts) != 1 or tokenizer.spec.z.layout == "3d":
        return RateRecord(missing={"rate": "it is measured of latents of pictures that have one part"})
    coded = CodedSet.encoded(tokenizer, pictures, batch_size, device)
    points: list[RatePoint] = []
    missing: dict[str, str] = {}
    for setting in settings(tokenizer.spec.z, steps):
        try:
            points.append(point(tokenizer, coded, setting, folder, protocol))
        except NotComputedError as error:
            missing[setting.name] = str(error)
    searches = {name: Codec(name, coded.real, protocol) for name in codecs}
    return RateRecord(
        coder=coder_name,
        num_fitted=len(pictures) - len(coded.real),
        num_images=len(coded.real),
        points=tuple(points),
        codecs={name: codec.curve() for name, codec in searches.items()},
        matches=tuple(codec.match(item) for item in points for codec in searches.values()),
        missing=missing,
    )


class Codec:
    """A picture codec on one set of pictures, each quality coded and measured once.

    Args:
        name: which.
        real: uint8 (N, 3, R, R).
        protocol: how PSNR and SSIM are taken.
    """

    def __init__(self, name: CodecName, real: Tensor, protocol: EvaluationProtocol) -> None:
        self.name = name
        self._real = real
        one_draw = protocol.interval.model_copy(update={"resamples": 1})  # curves have no intervals
        self._protocol = protocol.model_copy(update={"interval": one_draw})
        self._search = CodecSearch(CODECS[name], real)
        self._points: dict[int, CodecPoint] = {}

    def curve(self) -> tuple[CodecPoint, ...]:
        """At many qualities, by size."""
        lowest = self._search.codec.lowest
        points = [self._at(quality) for quality in CURVE_QUALITIES if quality >= lowest]
        return tuple(sorted(points, key=lambda item: item.bits_per_pixel))

    def match(self, item: RatePoint) -> Match:
        """The highest quality whose files are, on average, at most as large as a tokenizer's."""
        pixels = math.prod(self._real.shape[-2:])
        quality = self._search.best(item.bits_per_pixel * pixels)
        best = None if quality is None else self._at(quality)
        return Match(
            setting=item.setting,
            bits_per_pixel=item.bits_per_pixel,
            codec=self.name,
            best=best,
            gain=None if best is None else item.psnr - best.psnr,
        )

    def _at(self, quality: int) -> CodecPoint:
        if quality not in self._points:
            self._points[quality] = self._measured(self._search.at(quality))
        return self._points[quality]

    def _measured(self, coded: Coded) -> CodecPoint:
        panel = Panel(METRICS, self._protocol, WeightsConfig(), CPU)
        panel.update(self._real, coded.pictures)
        entries, _ = panel.compute()
        values = [entry.value for entry in entries.values() if isinstance(entry, Computed)]
        psnr, ssim = values
        return CodecPoint(
            quality=coded.quality,
            bits_per_pixel=coded.mean_bits / math.prod(self._real.shape[-2:]),
            psnr=psnr,
            ssim=ssim,
        )
