"""Learned perceptual distance: the ``lpips`` package over a backbone whose weights lie in a local file.

The package alone would download the backbone, or take whatever lies in a cache without looking; here the file
is named by the user and hashed. The small linear heads come with the package.

Source: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, arXiv
    1801.03924.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from eval.errors import NotComputedError
from eval.features import full_float32
from eval.metrics.score import Score, check_pair, mean_score
from eval.pixels import from_uint8
from eval.protocols import Domain, EvaluationProtocol
from eval.rows import Rows
from eval.weights import WeightsConfig, WeightsName, WeightsRecord, find, record
from tokenizer.core.checkpoint import sha256_of
from tokenizer.losses.perceptual import build_lpips

Net = Literal["vgg", "alex"]

_BACKBONES: dict[Net, WeightsName] = {"vgg": "vgg16", "alex": "alexnet"}
_HEADS_SHA256: dict[Net, str] = {
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
}


def load_network(net: Net, config: WeightsConfig) -> tuple[nn.Module, tuple[WeightsRecord, ...]]:
    """The LPIPS network of version 0.1, in evaluation mode, and the files it was read from.

    Raises:
        NotComputedError: if the backbone's file or the package is not on this machine.
        ValueError: if the file is not that backbone.
    """
    path = find(_BACKBONES[net], config)
    if importlib.util.find_spec("lpips") is None:
        put = "into this environment: pip install 'tessera[eval]'"
        raise NotComputedError("the package lpips", put)
    import lpips

    with warnings.catch_warnings():
        # how the package asks torchvision for a network without weights is deprecated there
        warnings.simplefilter("ignore", UserWarning)
        try:
            network = build_lpips(net, path, None)
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{path} does not hold {net}'s backbone: {error}") from None
    heads = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    digest = sha256_of(heads)
    heads_record = WeightsRecord(f"lpips_{net}_heads", heads.name, digest, digest == _HEADS_SHA256[net])
    return network.float(), (record(_BACKBONES[net], path), heads_record)


class LPIPS:
    """Mean over pictures of the distance in the features of one backbone, named with the backbone."""

    higher_is_better = False

    def __init__(
        self,
        protocol: EvaluationProtocol,
        network: nn.Module,
        weights: tuple[WeightsRecord, ...],
        device: torch.device,
    ) -> None:
        self.protocol = protocol
        self.network = network.to(device)
        self.weights = weights
        self.device = device
        self._values = Rows()

    @property
    def domain(self) -> Domain:
        """The form of the pictures that ``update`` takes."""
        return self.protocol.lpips.domain

    @torch.inference_mode()
    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: pictures (B, 3, H, W) both; the network sees them in [-1, 1], or as the protocol mistakes."""
        check_pair(real, fake, self.domain)
        x, x_hat = real.to(self.device), fake.to(self.device)
        if self.domain == "uint8":
            x, x_hat = from_uint8(x), from_uint8(x_hat)
        if self.protocol.lpips.fed == "zero_to_one":
            x, x_hat = (x + 1.0) / 2.0, (x_hat + 1.0) / 2.0
        with full_float32():
            values = self.network(x, x_hat)
        self._values.add(values.flatten().double().cpu(), keys)

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._values.merge(other._values)

    def compute(self) -> Score:
        """Mean over pictures; 0 for equal pictures."""
        interval = self.protocol.interval
        return mean_score(self._values.table().tolist(), resamples=interval.resamples, seed=interval.seed)


def load_lpips(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device, *, net: Net
) -> LPIPS:
    """The metric over one backbone.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    network, records = load_network(net, weights)
    return LPIPS(protocol, network, records, device)
