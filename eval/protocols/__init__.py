"""Named protocols: with the same codec and pictures the resize filter alone moves PSNR by a decibel, so a value
without its protocol is not a number, and values under different hashes are never compared.
"""

from eval.protocols.published import PROTOCOLS, OnCorrupt, canon_v1, protocol
from eval.protocols.settings import (
    SSIM_IMPLEMENTATIONS,
    Crop,
    Domain,
    EvaluationProtocol,
    Quantization,
    Resize,
    SSIMSettings,
)

__all__ = [
    "PROTOCOLS",
    "SSIM_IMPLEMENTATIONS",
    "Crop",
    "Domain",
    "EvaluationProtocol",
    "OnCorrupt",
    "Quantization",
    "Resize",
    "SSIMSettings",
    "canon_v1",
    "protocol",
]
