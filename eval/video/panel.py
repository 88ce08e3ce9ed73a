"""The metrics of clips by the names that reports print: those that can be computed here, and why others cannot."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.pixels import as_seen
from eval.protocols import Domain
from eval.protocols.video import VideoProtocol
from eval.report import NotComputed
from eval.video.flicker import Flicker
from eval.video.frame_metrics import ClipPSNR, ClipSSIM, load_clip_lpips
from eval.video.fvd import load_fvd
from eval.video.i3d import SHA256, VideoWeights
from eval.video.report import ClipComputed
from eval.video.score import ClipMetric, ClipScore
from eval.weights import KNOWN

CLIP_METRICS: dict[str, Callable[[VideoProtocol, VideoWeights, torch.device], ClipMetric]] = {
    "psnr": lambda protocol, weights, device: ClipPSNR(protocol),
    "ssim": lambda protocol, weights, device: ClipSSIM(protocol),
    "lpips_vgg": partial(load_clip_lpips, net="vgg"),
    "lpips_alex": partial(load_clip_lpips, net="alex"),
    "flicker": lambda protocol, weights, device: Flicker(protocol),
    "rfvd_styleganv": partial(load_fvd, variant="styleganv"),
    "rfvd_videogpt": partial(load_fvd, variant="videogpt"),
}


class ClipPanel:
    """The metrics of one job.

    Args:
        names: in the order of the report.
        protocol: their settings.
        weights: where their weights lie.
        device: where they run.

    Raises:
        ValueError: if there is no metric of a name, or a file of weights is not what it should be.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        protocol: VideoProtocol,
        weights: VideoWeights,
        device: torch.device,
    ) -> None:
        self.names = names
        self.protocol = protocol
        self.metrics: dict[str, ClipMetric] = {}
        self.missing: dict[str, NotComputed] = {}
        for name in names:
            if name not in CLIP_METRICS:
                raise ValueError(f"no metric {name!r} of video: there are {', '.join(CLIP_METRICS)}")
            try:
                self.metrics[name] = CLIP_METRICS[name](protocol, weights, device)
            except NotComputedError as error:
                self.missing[name] = NotComputed(not_computed=error.what, put=error.put)

    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Give every metric the next frames of a clip (T, 3, H, W), uint8 or float, in the form that it sees.

        Raises:
            ValueError: if a side holds NaN or infinity.
        """
        seen: dict[Domain, tuple[Tensor, Tensor]] = {}
        quantization = self.protocol.quantization
        for metric in self.metrics.values():
            if (domain := metric.domain) not in seen:
                seen[domain] = (
                    as_seen(real, quantization, domain).cpu(),
                    as_seen(fake, quantization, domain).cpu(),
                )
            metric.update(*seen[domain], clip)

    def compute(self) -> tuple[dict[str, ClipComputed | NotComputed], dict[str, ClipScore]]:
        """(entries of the report, scores by metric name).

        A metric over files that are not known by a published hash is entered as ``<name>_unverified``, and its own
        name as not computed.
        """
        entries: dict[str, ClipComputed | NotComputed] = {}
        scores: dict[str, ClipScore] = {}
        for name in self.names:
            if name in self.missing:
                entries[name] = self.missing[name]
                continue
            metric = self.metrics[name]
            try:
                scores[name] = metric.compute()
            except NotComputedError as error:
                entries[name] = NotComputed(not_computed=error.what, put=error.put)
                continue
            except ValueError as error:  # clips too short for it
                entries[name] = NotComputed(not_computed=str(error), put="aside, or give longer clips")
                continue
            wrong = [record.name for record in metric.weights if not record.verified]
            if wrong:
                entries[name] = NotComputed(
                    not_computed=f"a file known by its published hash for {', '.join(wrong)}",
                    put=_where(wrong[0]),
                )
            entries[f"{name}_unverified" if wrong else name] = ClipComputed.of(metric, scores[name])
        return entries, scores


def _where(name: str) -> str:
    known = {f"i3d_{variant}" for variant in SHA256} | {str(weights) for weights in KNOWN}
    if name.startswith("i3d_") and name not in known:
        return "aside: no hash of it was ever published, so that nobody can tell it from another"
    return "in place of the file that was given"
