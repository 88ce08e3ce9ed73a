"""Which tokenizers, which generator for each of them, and on which pictures."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from diffusion.samplers import SamplerName
from diffusion.training import TrainConfig
from tokenizer.core.config import Config, find_preset

PRESETS = Path(__file__).parents[1] / "configs" / "downstream"
GENERATOR_PRESETS = Path(__file__).parents[2] / "diffusion" / "configs"
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"


class DownstreamMember(Config):
    """A tokenizer that takes part; a plain text is its label."""

    label: str = Field(pattern=LABEL, description="its row and folder")
    source: str | None = Field(
        default=None,
        description="a tokenizer's folder or bundled name; none: the comparison's member so labelled",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, tree: Any) -> Any:  # plain data of any shape, checked right after
        return {"label": tree} if isinstance(tree, str) else tree


class DownstreamData(Config):
    """Pictures that the generators learn from, and others that tokenizers reconstruct."""

    path: Path = Field(
        description="folder of classes, each a folder of pictures; or one with train/ and validation/"
    )
    validation: Path | None = Field(default=None, description="held-out pictures; none: path/validation")
    flip: bool = Field(default=True, description="generators learn from mirrored copies as well")
    num_workers: int = Field(default=1, ge=0, description="processes that decode pictures")
    max_reference: int = Field(
        default=3000, ge=2, description="training pictures that samples are compared with"
    )
    max_held_out: int = Field(default=500, ge=2, description="held-out pictures that are reconstructed")

    @property
    def training(self) -> Path:
        """Where the pictures to learn from lie."""
        return self.path if self.validation is not None else self.path / "train"

    @property
    def held_out(self) -> Path:
        """Where the held-out pictures lie."""
        return self.validation if self.validation is not None else self.path / "validation"


class DownstreamConfig(Config):
    """Train one small generator on each tokenizer's latents of the same pictures, and compare what they make."""

    members: tuple[DownstreamMember, ...] = Field(min_length=1)
    comparison: Path | None = Field(
        default=None, description="out of eval.compare, where members without a source lie"
    )
    data: DownstreamData
    out: Path = Field(description="folder; the same command again goes on where it stopped")
    generator: str = Field(
        default="dit_tiny", description="a preset of diffusion.train by name, or the path of one"
    )
    overrides: tuple[str, ...] = Field(
        default=(), description="dotted.key=value, as diffusion.train takes them"
    )
    images: int = Field(ge=1, description="latents that each generator is trained on")
    batch: int = Field(default=64, ge=1, description="latents in a training step")
    resolution: int = Field(default=64, ge=16, description="side of the pictures")
    seed: int = 0
    only: tuple[str, ...] | None = Field(
        default=None, description="labels to train and measure now; the others keep what they have"
    )
    num_samples: int = Field(
        default=500, ge=2, description="sample i is of class i mod classes, from seed + i"
    )
    num_steps: int = Field(default=25, ge=1, description="of the sampler")
    guidance: float = Field(default=1.0, description="classifier-free guidance; 1: none")
    sampler: SamplerName = "euler"
    batch_size: int = Field(default=32, ge=1, description="pictures at once while sampling and measuring")
    gallery: int = Field(default=10, ge=1, description="samples shown of every row")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")

    @model_validator(mode="after")
    def _consistent(self) -> "DownstreamConfig":
        labels = [member.label for member in self.members]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"members need labels of their own; more than one is {', '.join(twice)}")
        for label in self.only or ():
            if label not in labels:
                raise ValueError(f"only: no member {label!r}; there are {', '.join(labels)}")
        return self

    def wanted(self, label: str) -> bool:
        """Whether a member is to be trained and measured by this command."""
        return self.only is None or label in self.only

    def source_of(self, member: DownstreamMember) -> str:
        """Where a member's tokenizer lies.

        Raises:
            ValueError: if neither the member nor the comparison says.
        """
        if member.source is not None:
            return member.source
        if self.comparison is None:
            raise ValueError(f"member {member.label}: give source=, or comparison=DIR where it was trained")
        return str(self.comparison / "members" / member.label / "run")

    def training(self, latents: Path, out: Path) -> TrainConfig:
        """The generator's preset for these images, latents and folder.

        Raises:
            ValueError: naming what is wrong with it.
        """
        path = find_preset(self.generator, GENERATOR_PRESETS)
        preset = TrainConfig.load(path, ["latents=.", "out=.", *self.overrides]).model_dump(mode="json")
        share = self.images / preset["images"]
        preset["optim"]["warmup_images"] = round(preset["optim"]["warmup_images"] * share)
        preset["ema_half_life"] *= share
        every = max(self.batch, self.images // 4)
        return TrainConfig.parse(
            preset
            | {
                "latents": str(latents),
                "out": str(out),
                "images": self.images,
                "batch": self.batch,
                "accumulate": 1,
                "seed": self.seed,
                "log_every": max(self.batch, self.images // 40),
                "show_every": 0,
                "save_every": every,
                "keep": 1,
            }
        )
