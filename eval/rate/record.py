"""The rate of a tokenizer as a report keeps it."""

from pydantic import Field

from tokenizer.core.config import Config

Interval = tuple[float, float]


class RatePoint(Config):
    """Pictures through a file: what it costs and what comes back."""

    setting: str
    bits_per_pixel: float = Field(
        description="of a picture's stream in the file, its length and checksum included"
    )
    bits_per_pixel_ci95: Interval
    ideal_bits_per_pixel: float = Field(description="-log2 of the shares in the tables, summed")
    fixed_bits_per_pixel: float = Field(description="log2 of the number of codes or levels, without a coder")
    psnr: float
    psnr_ci95: Interval
    ssim: float
    ssim_ci95: Interval
    file: str = Field(description="in the folder of the report")
    file_bytes: int = Field(description="of all pictures, header and tables included")
    table_bytes: int = Field(description="told once, as the weights are")


class CodecPoint(Config):
    """A picture codec at one quality; whole files count, headers included."""

    quality: int
    bits_per_pixel: float
    psnr: float
    ssim: float


class Match(Config):
    """A picture codec with at most as many bits as one point."""

    setting: str = Field(description="of the point")
    bits_per_pixel: float = Field(description="of the point")
    codec: str
    best: CodecPoint | None = Field(description="none where even its smallest files are larger")
    gain: float | None = Field(description="PSNR of the point over that of the codec, in dB")


class RateRecord(Config):
    """Files that were written, read back and decoded, beside picture codecs on the same pictures."""

    coder: str = ""
    num_fitted: int = Field(default=0, description="pictures that the tables were fitted to")
    num_images: int = Field(default=0, description="other pictures, which were coded and compared")
    points: tuple[RatePoint, ...] = ()
    codecs: dict[str, tuple[CodecPoint, ...]] = {}
    matches: tuple[Match, ...] = ()
    missing: dict[str, str] = Field(default={}, description="what was not measured, and why")
