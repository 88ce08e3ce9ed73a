"""One budget for every member: a training preset as it is, but for so many images, at one size, on the same pictures.

What a preset states in images (phases, warm-up, the average's half-life, the adversary's start) keeps its share of
the run. Resolution, batch, seed and pictures become those of the comparison. Everything else stays the preset's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.compare.settings import CompareConfig, MemberConfig
from tokenizer.core.config import find_preset
from tokenizer.training import TrainConfig

TRAINING_PRESETS = Path(__file__).parents[2] / "tokenizer" / "configs"


def read_preset(member: MemberConfig) -> TrainConfig:
    """The member's training preset with its overrides; data and out are set later.

    Raises:
        ValueError: naming the member, and what is wrong.
    """
    try:
        path = find_preset(member.preset, TRAINING_PRESETS)
        return TrainConfig.load(path, ["data.path=.", "out=.", *member.overrides])
    except ValueError as error:
        raise ValueError(f"member {member.label}: {error}") from None


def at_budget(train: TrainConfig, config: CompareConfig, out: Path, images: int) -> TrainConfig:
    """The preset at ``images`` images of the comparison's size.

    Raises:
        ValueError: if there are more phases than training steps.
    """
    tree = train.model_dump(mode="json")
    before = [phase.span for phase in train.phases]
    spans = spread(before, images, config.batch)
    ratio = sum(spans) / sum(before)
    for phase, span, old in zip(tree["phases"], spans, before, strict=True):
        phase |= {"resolution": config.resolution, "images": span, "batch": config.batch, "accumulate": 1}
        if phase["adversary"] is not None:
            phase["adversary"]["start_images"] = round(phase["adversary"]["start_images"] * span / old)
            _shorten(phase["adversary"]["optim"], span / old)
        if phase["optim"] is not None:
            _shorten(phase["optim"], span / old)
    _shorten(tree["optim"], ratio)
    tree["ema_half_life"] *= ratio
    total = sum(spans)
    return TrainConfig.parse(
        tree
        | {
            "out": str(out),
            "seed": config.seed,
            "data": {
                "path": str(config.data.training),
                "validation": str(config.data.held_out),
                "max_scale": config.data.max_scale,
                "flip": config.data.flip,
                "num_workers": config.data.num_workers,
            },
            "log_every": max(config.batch, total // 40),
            "show_every": 0,
            "save_every": max(config.batch, total // 4),
            "keep": 1,
        }
    )


def spread(weights: Sequence[int], images: int, batch: int) -> list[int]:
    """Images for each phase in proportion to its weight, in whole batches and at least one; together ``images``,
    rounded up to the batch.

    Raises:
        ValueError: if there are more phases than batches.
    """
    steps = -(-images // batch)
    if steps < len(weights):
        raise ValueError(
            f"{images} images in steps of {batch} are fewer steps than the preset has phases, {len(weights)}: "
            "give a larger budget"
        )
    exact = [steps * weight / sum(weights) for weight in weights]
    shares = [max(1, int(value)) for value in exact]
    while sum(shares) != steps:
        change = 1 if sum(shares) < steps else -1
        able = [index for index, share in enumerate(shares) if share + change > 0]
        shares[max(able, key=lambda index: change * (exact[index] - shares[index]))] += change
    return [share * batch for share in shares]


def images_in(seconds: float, weights: Sequence[int], rates: Sequence[float], batch: int) -> int:
    """Images that fit into ``seconds`` when phases get their share of the images and run at ``rates`` images/s."""
    seconds_an_image = sum(weight / sum(weights) / rate for weight, rate in zip(weights, rates, strict=True))
    return max(len(weights), int(seconds / seconds_an_image) // batch) * batch


def _shorten(optim: dict[str, Any], ratio: float) -> None:
    optim["warmup_images"] = round(optim["warmup_images"] * ratio)
