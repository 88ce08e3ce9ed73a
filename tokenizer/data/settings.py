"""What a run trains on, as data."""

from pathlib import Path

from pydantic import Field

from tokenizer.core.config import Config


class DataConfig(Config):
    """Pictures to train on."""

    path: Path = Field(
        description="folder of pictures, searched below; or .tar shards: one, a folder of them, a pattern"
    )
    validation: Path | None = Field(
        default=None, description="pictures to show and measure; none: the first of path"
    )
    max_scale: float = Field(
        default=1.25, ge=1, description="short side is resized to at most this many crops"
    )
    flip: bool = True
    num_workers: int = Field(
        default=2, ge=0, description="processes that decode pictures, for each training process"
    )
