"""What a comparison is, as data: members, budget, pictures, and what members promise."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from eval.compare.columns import COLUMNS
from eval.metrics import METRICS
from eval.weights import WeightsConfig
from tokenizer.core.config import Config

PRESETS = Path(__file__).parents[1] / "configs" / "compare"
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
ReferenceName = Literal["floor", "jpeg", "webp", "avif"]


class MemberConfig(Config):
    """A tokenizer preset that takes part; a plain text is the preset's name."""

    preset: str = Field(description="a preset of tokenizer.train by name, or the path of one")
    label: str = Field(pattern=LABEL, description="its row and folder; without it, the preset's name")
    overrides: tuple[str, ...] = Field(
        default=(), description="dotted.key=value, as tokenizer.train takes them"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, tree: Any) -> Any:  # plain data of any shape, checked right after
        if isinstance(tree, str):
            tree = {"preset": tree}
        if isinstance(tree, dict) and "label" not in tree and isinstance(tree.get("preset"), str):
            tree = tree | {"label": Path(tree["preset"]).stem}
        return tree


class PromiseConfig(Config):
    """A member's number that should be better than that of the same preset without what it adds."""

    member: str = Field(description="label of the member with it")
    against: str = Field(description="label of the member without it")
    improves: str = Field(description="the number, by the name of its column")
    because: str = Field(default="", description="what the family promises, in one sentence")


class CompareData(Config):
    """Pictures to train on, and others to measure with."""

    path: Path = Field(description="pictures to train on; or a folder with train/ and validation/")
    validation: Path | None = Field(default=None, description="held-out pictures; none: path/validation")
    max_images: int = Field(default=2000, ge=1, description="held-out pictures that are used, evenly spread")
    num_workers: int = Field(default=1, ge=0, description="processes that decode pictures in training")
    max_scale: float = Field(default=1.25, ge=1, description="as in tokenizer.train, for all members")
    flip: bool = True

    @property
    def training(self) -> Path:
        """Where the pictures to train on lie."""
        return self.path if self.validation is not None else self.path / "train"

    @property
    def held_out(self) -> Path:
        """Where the pictures to measure with lie."""
        return self.validation if self.validation is not None else self.path / "validation"


class CompareConfig(Config):
    """Train tokenizer presets on one budget, and measure them and their references on the same pictures."""

    members: tuple[MemberConfig, ...] = Field(min_length=1)
    promises: tuple[PromiseConfig, ...] = ()
    data: CompareData
    out: Path = Field(description="folder; the same command again goes on where it stopped")
    images: int | None = Field(
        default=None, ge=1, description="each member trains on this many; or see seconds"
    )
    seconds: float | None = Field(
        default=None, gt=0, description="each member trains this long, by the clock of its loop"
    )
    resolution: int = Field(default=64, ge=16, description="side of the crops, in training and measuring")
    batch: int = Field(default=16, ge=1, description="images in a training step")
    seed: int = 0
    only: tuple[str, ...] | None = Field(
        default=None, description="labels to train and measure now; the others keep what they have"
    )
    references: tuple[ReferenceName, ...] = ("floor", "jpeg", "webp")
    protocol: str = "canon-v1"
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg", "lpips_alex")
    weights: WeightsConfig = WeightsConfig()
    batch_size: int = Field(default=16, ge=1, description="pictures at once while measuring")
    device: str = Field(default="auto", description="for measuring: auto, cpu, cuda or cuda:N")
    gallery: int = Field(default=8, ge=1, description="held-out pictures shown of every row")

    @property
    def budget(self) -> str:
        """The budget in words."""
        return f"{self.images} images" if self.images is not None else f"{self.seconds:g} seconds"

    @model_validator(mode="after")
    def _consistent(self) -> "CompareConfig":
        if (self.images is None) == (self.seconds is None):
            raise ValueError("give either images or seconds, the budget of each member")
        labels = [member.label for member in self.members]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"members need labels of their own; more than one is {', '.join(twice)}")
        for name in self.metrics:
            if name not in COLUMNS or name not in METRICS:
                choices = ", ".join(name for name in METRICS if name in COLUMNS)
                raise ValueError(f"metrics: no {name!r} here; there are {choices}")
        known = ", ".join(labels)
        for label in self.only or ():
            if label not in labels:
                raise ValueError(f"only: no member {label!r}; there are {known}")
        for promise in self.promises:
            for label in (promise.member, promise.against):
                if label not in labels:
                    raise ValueError(f"promises: no member {label!r}; there are {known}")
            if promise.improves not in COLUMNS or COLUMNS[promise.improves].better is None:
                choices = ", ".join(name for name, column in COLUMNS.items() if column.better is not None)
                raise ValueError(
                    f"promises: no number {promise.improves!r} that can improve: there are {choices}"
                )
        return self

    def wanted(self, label: str) -> bool:
        """Whether a member is to be trained and measured by this command."""
        return self.only is None or label in self.only
