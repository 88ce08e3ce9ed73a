"""Frechet distance between two sets of pictures as Gaussians in a feature space: rFID, gFID, sFID and FD_DINOv2.

Sources: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500, equation 6; sFID:
    Nash et al. 2021, Generating Images with Sparse Representations, arXiv 2103.03841; FD_DINOv2: Stein et al. 2023,
    Exposing Flaws of Generative Model Evaluation Metrics, arXiv 2306.04675, as measured by Karras et al. 2024,
    arXiv 2312.02696.

Letters: N and M pictures, D features.
"""

from functools import partial

import torch
from torch import Tensor

from eval.encoders import load_dinov2
from eval.frechet import Moments, frechet_distance_of_gaussians, frechet_distance_of_sets, is_few
from eval.metrics.score import Score
from eval.metrics.sets import SetComparison, around, load_comparison
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig


def frechet_score(protocol: EvaluationProtocol, real: Tensor, fake: Tensor, *, paired: bool) -> Score:
    """The distance of features (N, D) and (M, D), with the value +- 1.96 standard deviations of the bootstrap.

    Resampling lowers the number of distinct pictures and so raises FID: the resamples' own percentiles would not
    even hold the value.

    Args:
        protocol: its settings of the interval.
        real: of the reference.
        fake: of the made pictures.
        paired: they are reconstructions of the real ones (rFID), so a resample takes both or neither.
    """
    value = frechet_distance_of_sets(real, fake)
    width = real.shape[1]
    details: dict[str, float | int | str] = {
        "num_real": len(real),
        "num_fake": len(fake),
        "num_features": width,
        "interval": "value +- 1.96 std of a bootstrap",
    }
    if is_few(real, fake):
        details["warning"] = (
            f"fewer pictures than the {width} features: biased upwards, compare only at equal numbers"
        )
    spread = _bootstrap_std(protocol, real, fake, paired=paired)
    return Score(value, around(value, spread, at_least=0.0), len(fake), details)


def _bootstrap_std(protocol: EvaluationProtocol, real: Tensor, fake: Tensor, *, paired: bool) -> float:
    generator = torch.Generator().manual_seed(protocol.interval.seed)
    distances = []
    for _ in range(protocol.interval.fid_resamples):
        rows = torch.randint(len(fake), (len(fake),), generator=generator)
        other = rows if paired else torch.randint(len(real), (len(real),), generator=generator)
        distances.append(frechet_distance_of_sets(real[other], fake[rows]))
    return float(torch.tensor(distances, dtype=torch.float64).std())


def frechet_score_to_gaussian(
    protocol: EvaluationProtocol, mean: Tensor, covariance: Tensor, fake: Tensor
) -> Score:
    """The distance of features (M, D) to a reference's statistics (D,), (D, D).

    Raises:
        ValueError: if the statistics are of other features.
    """
    if len(mean) != fake.shape[1]:
        raise ValueError(f"the reference has {len(mean)} features, these pictures {fake.shape[1]}")

    def distance(features: Tensor) -> float:
        moments = Moments.of(features)
        return frechet_distance_of_gaussians(mean, covariance, moments.mean, moments.covariance)

    generator = torch.Generator().manual_seed(protocol.interval.seed)
    drawn = [
        distance(fake[torch.randint(len(fake), (len(fake),), generator=generator)])
        for _ in range(protocol.interval.fid_resamples)
    ]
    value, spread = distance(fake), float(torch.tensor(drawn, dtype=torch.float64).std())
    details: dict[str, float | int | str] = {
        "num_fake": len(fake),
        "num_features": len(mean),
        "interval": "value +- 1.96 std of a bootstrap of the made pictures",
    }
    if len(fake) <= len(mean):
        details["warning"] = (
            f"fewer pictures than the {len(mean)} features: biased upwards, compare only at equal numbers"
        )
    return Score(value, around(value, spread, at_least=0.0), len(fake), details)


def load_fid(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device, *, paired: bool
) -> SetComparison:
    """FID over the network that defines it.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    return load_comparison(
        protocol,
        weights,
        device,
        partial(frechet_score, protocol, paired=paired),
        score_to_gaussian=partial(frechet_score_to_gaussian, protocol),
    )


def load_sfid(protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device) -> SetComparison:
    """sFID: the same distance in 7 channels of a layer that still has positions, as ADM's evaluator takes them.

    Raises:
        NotComputedError: if the network's weights are not on this machine.
    """
    return load_comparison(
        protocol,
        weights,
        device,
        partial(frechet_score, protocol, paired=False),
        output="spatial",
        score_to_gaussian=partial(frechet_score_to_gaussian, protocol),
    )


def load_fd_dinov2(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device
) -> SetComparison:
    """The same distance in the class token of DINOv2 ViT-L/14, 1024 features that were not learned from labels.

    Raises:
        NotComputedError: if its weights or timm are not on this machine.
    """
    encoder = load_dinov2(weights, device, protocol.fd_dinov2.resize)
    return SetComparison(
        protocol,
        encoder,
        (encoder.record,),
        partial(frechet_score, protocol, paired=False),
        output="dinov2",
        score_to_gaussian=partial(frechet_score_to_gaussian, protocol),
        domain="uint8",
    )
