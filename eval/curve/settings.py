"""Which members of a comparison are drawn as curves, at how many tokens, and for which qualities."""

from pathlib import Path

from pydantic import Field, model_validator

from tokenizer.core.config import Config

PRESETS = Path(__file__).parents[1] / "configs" / "curve"


class CurveConfig(Config):
    """Measure trained tokenizers at several numbers of tokens, beside the other members of their comparison."""

    comparison: Path = Field(description="out of eval.compare, whose members are trained and measured")
    out: Path = Field(description="folder; the same command again goes on where it stopped")
    curves: tuple[str, ...] = Field(
        min_length=1, description="labels of members whose number of tokens can be chosen"
    )
    beside: tuple[str, ...] | None = Field(
        default=None, description="labels of members that are points; none: all others that are measured"
    )
    counts: tuple[int, ...] | None = Field(
        default=None,
        description="numbers of tokens; none: all that a member allows, at most max_counts of them",
    )
    max_counts: int = Field(default=16, ge=2)
    qualities: tuple[float, ...] = Field(
        default=(), description="dB for which each picture takes the fewest tokens that reach them"
    )
    pictures: Path | None = Field(
        default=None, description="the comparison's held-out pictures, if they lie elsewhere now"
    )
    batch_size: int = Field(default=16, ge=1, description="pictures at once")
    gallery: int = Field(default=6, ge=1, description="pictures shown at every number of tokens")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")

    @model_validator(mode="after")
    def _consistent(self) -> "CurveConfig":
        both = sorted(set(self.curves) & set(self.beside or ()))
        if both:
            raise ValueError(f"beside: {', '.join(both)} are curves already")
        if self.counts is not None and (not self.counts or list(self.counts) != sorted(set(self.counts))):
            raise ValueError(f"counts must rise, got {list(self.counts)}")
        return self
