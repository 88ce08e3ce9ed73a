"""What files are searched for: pictures, or videos. Imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        plural: what several of them are called.
        suffixes: that name them.
        index: what follows a shard's name in that of its index.
    """

    plural: str
    suffixes: frozenset[str]
    index: str

    def __str__(self) -> str:
        return f"{self.plural} ({', '.join(sorted(self.suffixes))})"


PICTURES = Kind("pictures", frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}), "index")
VIDEOS = Kind("videos", frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".gif"}), "videos.index")
