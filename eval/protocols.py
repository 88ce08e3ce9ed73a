"""Named protocols: everything that decides a number, as frozen data with a hash printed beside the number.

With the same codec and pictures the resize filter alone moves PSNR by a decibel; so a value without its
protocol is not a number, and values under different hashes are never compared.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from tokenizer.core.config import Config


class PSNRSettings(Config):
    """PSNR of each picture on rounded uint8, then the mean; the pooled value stands beside it."""

    data_range: float = 255.0
    average: Literal["per_image"] = "per_image"


class SSIMSettings(Config):
    """Wang et al. 2004: Gaussian window without padding, mean over positions, RGB and pictures."""

    window: int = 11
    sigma: float = 1.5
    padding: Literal["valid"] = "valid"
    data_range: float = 255.0
    channels: Literal["rgb_mean"] = "rgb_mean"


class LPIPSSettings(Config):
    """LPIPS 0.1 of both backbones on the rounded pictures, mapped to [-1, 1]."""

    version: Literal["0.1"] = "0.1"
    domain: Literal["uint8"] = "uint8"


class FIDSettings(Config):
    """Frechet distance of 2048 pooled Inception features, float32 without TF32, moments in float64."""

    network: Literal["pt_inception-2015-12-05"] = "pt_inception-2015-12-05"
    resize: Literal["tf1_bilinear_299"] = "tf1_bilinear_299"
    precision: Literal["float32_no_tf32"] = "float32_no_tf32"
    distance: Literal["symmetric_float64"] = "symmetric_float64"


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
    crop: Literal["adm"] = "adm"
    posterior: Literal["mode"] = "mode"
    range: Literal["clamp"] = "clamp"
    quantization: Literal["round_uint8"] = "round_uint8"
    on_corrupt: Literal["fail", "skip"] = "fail"
    psnr: PSNRSettings = PSNRSettings()
    ssim: SSIMSettings = SSIMSettings()
    lpips: LPIPSSettings = LPIPSSettings()
    fid: FIDSettings = FIDSettings()
    interval: IntervalSettings = IntervalSettings()
    reconstruction: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg", "lpips_alex", "rfid")
    generation: tuple[str, ...] = ("gfid",)

    @property
    def hash(self) -> str:
        """The first 12 digits of the sha256 of the canonical JSON of all of it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def preprocess_hash(self) -> str:
        """The same over what decides the pictures alone: crop, size and what happens to a corrupt one."""
        keys = {"crop", "resolution", "on_corrupt"}
        return hashlib.sha256(EvaluationProtocol.model_dump_json(self, include=keys).encode()).hexdigest()[
            :12
        ]

    def lines(self) -> list[tuple[str, str]]:
        """(dotted name, value) of every setting, for people."""
        found: list[tuple[str, str]] = []
        for name, value in self.model_dump(mode="json").items():
            if isinstance(value, dict):
                found += [(f"{name}.{key}", str(inner)) for key, inner in value.items()]
            else:
                found.append((name, ", ".join(value) if isinstance(value, list) else str(value)))
        return found


def canon_v1(resolution: int, on_corrupt: Literal["fail", "skip"]) -> EvaluationProtocol:
    """The default: ADM crop, posterior mode, clamp, rounding to uint8 on both sides, PSNR per picture.

    Source of the crop: Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, arXiv
    2105.05233 (their ``center_crop_arr``).
    """
    return EvaluationProtocol(name="canon-v1", resolution=resolution, on_corrupt=on_corrupt)


PROTOCOLS: dict[str, Callable[[int, Literal["fail", "skip"]], EvaluationProtocol]] = {"canon-v1": canon_v1}


def protocol(name: str, resolution: int, on_corrupt: Literal["fail", "skip"] = "fail") -> EvaluationProtocol:
    """The protocol called ``name`` at a resolution.

    Raises:
        ValueError: listing the protocols there are.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}: there are {', '.join(sorted(PROTOCOLS))}")
    if resolution < 16:
        raise ValueError(f"data.resolution={resolution}: the protocols need at least 16 pixels")
    return PROTOCOLS[name](resolution, on_corrupt)
