"""Every number of a comparison: its name, its title, how it is written, and which way is better."""

import math
from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower", "near_one"]
Group = Literal["picture", "code", "latent", "cost", "run"]


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a row.

    Attributes:
        title: head of the column.
        says: one sentence for the reader.
        digits: after the point.
        better: the direction of improvement; None where there is none.
        scale: the number is divided by it before it is written.
        group: what it belongs to; Markdown has a table of latents of its own and leaves the run out.
    """

    title: str
    says: str
    digits: int
    better: Better | None = None
    scale: float = 1.0
    group: Group = "picture"

    def write(self, value: float | None) -> str:
        """The number as tables show it."""
        if value is None:
            return "-"
        if not math.isfinite(value):
            return str(value)
        return f"{value / self.scale:.{self.digits}f}"


COLUMNS: dict[str, Column] = {
    "bits_per_pixel": Column("bits/pixel", "of what is sent", 4),
    "bits_per_value": Column("bits/value", "of what is sent, over the values of the latent", 2),
    "tokens": Column("tokens", "positions of the latent's grid, or indices of all scales", 0),
    "psnr": Column("PSNR", "dB, mean over pictures", 2, "higher"),
    "ssim": Column("SSIM", "mean over pictures", 4, "higher"),
    "lpips_vgg": Column("LPIPS vgg", "perceptual distance", 4, "lower"),
    "lpips_alex": Column("LPIPS alex", "perceptual distance", 4, "lower"),
    "rfid": Column("rFID", "Frechet distance of Inception features", 2, "lower"),
    "gain": Column("over floor", "dB of PSNR above the floor at the same bits", 2, "higher"),
    "sharpness": Column("sharpness", "energy of the Laplacian over that of the originals", 3, "near_one"),
    "frechet_patches": Column(
        "patch Frechet",
        "Frechet distance of patches of pixels at several scales, as they are; no network, no FID",
        4,
        "lower",
    ),
    "codebooks": Column("codebooks", "indices at each position", 0, group="code"),
    "codebook_size": Column("codes", "codes of one codebook", 0, group="code"),
    "codebook_use": Column(
        "use",
        "codes that occur, of those that could in so many tokens; mean over codebooks",
        3,
        "higher",
        group="code",
    ),
    "codebook_perplexity": Column(
        "perplexity", "exp of the entropy of the codes, mean over codebooks", 1, "higher", group="code"
    ),
    "latent_mean": Column("mean", "of the latent's values in the tokenizer's own scale", 3, group="latent"),
    "latent_rms": Column("rms", "of the latent's values", 3, group="latent"),
    "latent_kurtosis": Column("kurtosis", "of a channel, mean over channels; 3 is normal", 2, group="latent"),
    "latent_prior_gap": Column(
        "prior gap",
        "nats of KL divergence of a channel's mean and variance from the standard normal",
        2,
        "lower",
        group="latent",
    ),
    "latent_dead": Column("dead", "share of channels that hardly move", 3, "lower", group="latent"),
    "equivariance_rot90": Column(
        "turn error", "|E(turned x) - turned E(x)| over |E(turned x)|", 3, "lower", group="latent"
    ),
    "equivariance_scale": Column(
        "shrink error", "|E(half x) - half E(x)| over |E(half x)|", 3, "lower", group="latent"
    ),
    "equivariance_shift": Column(
        "shift error", "|E(shifted x) - shifted E(x)| over |E(shifted x)|", 3, "lower", group="latent"
    ),
    "psnr_rot90": Column(
        "PSNR turned",
        "dB, decoding the turned latent against the turned picture",
        2,
        "higher",
        group="latent",
    ),
    "psnr_scale": Column(
        "PSNR shrunk",
        "dB, decoding the latent of half the size against the picture of half the size",
        2,
        "higher",
        group="latent",
    ),
    "psnr_shift": Column(
        "PSNR shifted",
        "dB, decoding the latent shifted by a cell against the shifted picture",
        2,
        "higher",
        group="latent",
    ),
    "psnr_noise": Column(
        "PSNR noisy",
        "dB, decoding latents with normal noise of half their spread",
        2,
        "higher",
        group="latent",
    ),
    "cycle_error": Column(
        "again error", "|E(D(z)) - z| over |z|: encoding the reconstruction again", 3, "lower", group="latent"
    ),
    "class_probe": Column(
        "class told",
        "share of held-out pictures whose class a ridge regression on the latent tells, five folds",
        3,
        "higher",
        group="latent",
    ),
    "prefix_half": Column(
        "PSNR 1/2",
        "dB from the first half of the channels, or of a row of tokens",
        2,
        "higher",
        group="latent",
    ),
    "prefix_quarter": Column(
        "PSNR 1/4",
        "dB from the first quarter of the channels, or of a row of tokens",
        2,
        "higher",
        group="latent",
    ),
    "parameters": Column("M params", "millions of parameters", 3, scale=1e6, group="cost"),
    "gflops": Column("GFLOPs", "encoding and decoding one picture; a multiply-add is two", 3, group="cost"),
    "training_images_per_s": Column("train img/s", "of the training loop", 1, "higher", group="cost"),
    "inference_images_per_s": Column(
        "infer img/s", "encoding and decoding, in batches", 1, "higher", group="cost"
    ),
    "images": Column("images", "trained on", 0, group="run"),
    "training_s": Column("train s", "of the training loop", 1, group="run"),
}
for _name in ("lpips_vgg", "lpips_alex", "rfid"):  # from files that are not the published ones
    COLUMNS[f"{_name}_unverified"] = replace(COLUMNS[_name], title=f"{COLUMNS[_name].title} unverified")


def improvement(name: str, value: float, against: float) -> float:
    """How much better ``value`` is than ``against``; positive is better.

    Raises:
        ValueError: if the column has no better direction.
    """
    better = COLUMNS[name].better
    if better == "higher":
        return value - against
    if better == "lower":
        return against - value
    if better == "near_one":
        return abs(against - 1.0) - abs(value - 1.0)
    raise ValueError(f"{name} has no direction of improvement")
