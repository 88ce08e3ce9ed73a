"""What a protocol is: everything that decides a number, as frozen data with a hash printed beside the number.

A field marked ``later`` was added after protocols had been published: it enters the hash only where it departs
from what was done before it existed, so the hash of a name never moves.
"""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from tokenizer.core.config import Config

Domain = Literal["uint8", "clamped", "float"]
"""The form in which a metric sees both pictures.

``uint8``: quantized as the protocol says. ``clamped``: float in [-1, 1]. ``float``: as decoded.
"""
Crop = Literal[
    "adm", "pil_bilinear", "pil_bicubic", "pil_lanczos", "tensor_bilinear", "cv2_bilinear", "cover_lanczos"
]
Quantization = Literal[
    "round_uint8", "truncate_uint8", "truncate_unit_uint8", "truncate_uint8_then_256", "round_uint8_then_256"
]
Resize = Literal["tf1_bilinear_299", "pytorch_bilinear_299", "clean_bicubic_299"]


def _later(default: Any, **more: Any) -> Any:  # pydantic's own Field has no narrower type
    return Field(default=default, json_schema_extra={"later": True}, **more)


class PSNRSettings(Config):
    """PSNR of each picture, then the mean; the pooled value stands beside it."""

    data_range: float = 255.0
    average: Literal["per_image", "pooled"] = "per_image"
    domain: Domain = _later("uint8")
    range_from: Literal["fixed", "largest_original"] = _later(
        "fixed", description="largest_original: the brightest value of all originals, in place of data_range"
    )


class SSIMSettings(Config):
    """SSIM of each picture, then the mean; the defaults are those of Wang et al. 2004.

    ``low`` and ``high`` are the values that black and white are given before the formula; ``data_range`` is
    the L of its constants, which some code sets to something else than high - low.
    """

    window: int = 11
    sigma: float = 1.5
    padding: Literal["valid", "reflect"] = "valid"
    data_range: float = 255.0
    channels: Literal["rgb_mean"] = "rgb_mean"
    weights: Literal["gaussian", "uniform"] = _later("gaussian")
    covariance: Literal["biased", "sample"] = _later("biased")
    low: float = _later(0.0)
    high: float = _later(255.0)
    domain: Domain = _later("uint8")
    range_of_batches: int | None = _later(
        None, description="the data range is that of the pictures of a batch so large, instead of data_range"
    )


SSIM_IMPLEMENTATIONS: dict[str, SSIMSettings] = {
    "wang": SSIMSettings(),
    "skimage": SSIMSettings(window=7, weights="uniform", covariance="sample"),
    "torchmetrics": SSIMSettings(padding="reflect"),
}
"""The three that the field uses, each with its right data range."""


class MSSSIMSettings(Config):
    """Five scales of SSIM, as Wang, Simoncelli and Bovik 2003; each half of the one before."""

    scales: tuple[float, ...] = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    domain: Domain = "uint8"


class LPIPSSettings(Config):
    """LPIPS 0.1 of both backbones on pictures in [-1, 1]."""

    version: Literal["0.1"] = "0.1"
    domain: Domain = "uint8"
    fed: Literal["minus_one_to_one", "zero_to_one"] = _later(
        "minus_one_to_one", description="the range of the network's input; the second is a mistake"
    )


class FIDSettings(Config):
    """Frechet distance of 2048 pooled Inception features, float32 without TF32, moments in float64."""

    network: Literal["pt_inception-2015-12-05"] = "pt_inception-2015-12-05"
    resize: Resize = "tf1_bilinear_299"
    precision: Literal["float32_no_tf32"] = "float32_no_tf32"
    distance: Literal["symmetric_float64"] = "symmetric_float64"
    domain: Domain = _later("uint8")
    gfid_reference: Literal["folder", "npz"] = _later("folder")


class KIDSettings(Config):
    """Mean of the unbiased polynomial MMD over random subsets; of all pictures where a subset would hold more."""

    subsets: int = Field(default=100, ge=1)
    subset_size: int = Field(default=1000, ge=2)
    degree: int = 3
    coefficient: float = 1.0
    seed: int = 2020


class InceptionScoreSettings(Config):
    """Splits of the pictures, in order unless they are shuffled by a seed; logits without the last bias."""

    splits: int = Field(default=10, ge=1)
    split_size: int | None = Field(default=None, ge=1, description="instead of a number of splits")
    shuffle_seed: int | None = 2020


class PrecisionRecallSettings(Config):
    """Manifolds of balls that reach the k-th neighbour, in the pooled Inception features."""

    neighbours: int = Field(default=3, ge=1)


class FDInfinitySettings(Config):
    """Line through the distances of growing subsets against 1/N, read at 0."""

    points: int = Field(default=15, ge=3)
    smallest: int = Field(default=5000, ge=2)
    seed: int = 0


class FDDINOv2Settings(Config):
    """Frechet distance of the class token of DINOv2 ViT-L/14 at 224, normalised as ImageNet."""

    resize: Literal["tensor_bicubic_224", "pil_bicubic_224"] = Field(
        default="tensor_bicubic_224", description="both antialiased; PIL's rounds to bytes"
    )


class CMMDSettings(Config):
    """Squared maximum mean discrepancy of CLIP ViT-L/14-336 embeddings under a Gaussian kernel, with its diagonal."""

    sigma: float = 10.0
    scale: float = 1000.0


class TextSettings(Config):
    """What is read in both pictures, and what a word error is."""

    reader: Literal["rapidocr", "gemma"] = "rapidocr"
    side: int | None = Field(default=None, description="PIL bicubic to so many pixels before reading")
    word_error: Literal["words", "characters"] = Field(
        default="words", description="what is counted against the number of words"
    )


class InterpolationSettings(Config):
    """Between a latent and a near one: ``slerp`` finds neighbours by cosine, ``linear`` by distance."""

    path: Literal["slerp", "linear"] = "slerp"
    alpha: float = Field(default=0.5, ge=0.0, le=1.0, description="0: the latent itself; 1: its neighbour")
    neighbours: int = Field(
        default=1, ge=1, description="candidates, of which one is drawn by softmax of -mean squared error"
    )
    seed: int = 0


class IntervalSettings(Config):
    """Bootstrap over pictures: percentiles for means; the spread about the point estimate for FID."""

    level: Literal["95_percent"] = "95_percent"
    resamples: int = 1000
    fid_resamples: int = 50
    seed: int = 0


class EvaluationProtocol(Config):
    """How pictures become numbers. The resolution belongs to it: numbers at two sizes are two things."""

    name: str
    resolution: int = Field(ge=16)
    crop: Crop = "adm"
    posterior: Literal["mode", "sample"] = "mode"
    range: Literal["clamp"] = "clamp"
    quantization: Quantization = "round_uint8"
    on_corrupt: Literal["fail", "skip"] = "fail"
    psnr: PSNRSettings = PSNRSettings()
    ssim: SSIMSettings = SSIMSettings()
    lpips: LPIPSSettings = LPIPSSettings()
    fid: FIDSettings = FIDSettings()
    interval: IntervalSettings = IntervalSettings()
    reconstruction: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg", "lpips_alex", "rfid")
    generation: tuple[str, ...] = ("gfid",)
    ms_ssim: MSSSIMSettings = _later(MSSSIMSettings())
    kid: KIDSettings = _later(KIDSettings())
    inception_score: InceptionScoreSettings = _later(InceptionScoreSettings())
    precision_recall: PrecisionRecallSettings = _later(PrecisionRecallSettings())
    fd_infinity: FDInfinitySettings = _later(FDInfinitySettings())
    fd_dinov2: FDDINOv2Settings = _later(FDDINOv2Settings())
    cmmd: CMMDSettings = _later(CMMDSettings())
    text: TextSettings = _later(TextSettings())
    interpolation: InterpolationSettings = _later(InterpolationSettings())
    unavailable: tuple[str, ...] = _later((), description="metrics it asks for that are not built here")

    @property
    def hash(self) -> str:
        """The first 12 digits of the sha256 of the canonical JSON of all of it."""
        canonical = json.dumps(_hashed(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def preprocess_hash(self) -> str:
        """The same over what decides the pictures alone: crop, size and what happens to a corrupt one."""
        keys = {"crop", "resolution", "on_corrupt"}
        return hashlib.sha256(EvaluationProtocol.model_dump_json(self, include=keys).encode()).hexdigest()[
            :12
        ]

    def shares_pass(self, other: "EvaluationProtocol") -> bool:
        """Whether one encoding and decoding serves both: same pictures, same use of the posterior."""
        return (self.preprocess_hash, self.posterior) == (other.preprocess_hash, other.posterior)

    def lines(self) -> list[tuple[str, str]]:
        """(dotted name, value) of every setting, for people."""
        found: list[tuple[str, str]] = []
        for name, value in self.model_dump(mode="json").items():
            if isinstance(value, dict):
                found += [(f"{name}.{key}", str(inner)) for key, inner in value.items()]
            else:
                found.append((name, ", ".join(value) if isinstance(value, list) else str(value)))
        return found


def _hashed(config: Config) -> dict[str, Any]:  # JSON
    """The fields that make the hash: all of them, but of later ones only those that depart from their default."""
    tree: dict[str, Any] = {}
    plain = config.model_dump(mode="json")
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("later") and value == info.default:
            continue
        tree[name] = _hashed(value) if isinstance(value, Config) else plain[name]
    return tree
