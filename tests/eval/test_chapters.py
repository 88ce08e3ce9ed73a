"""Each chapter stands where it was measured, shows its numbers, and cannot be written to by a name."""

from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import torch

from eval.chapters import chapters
from eval.cost import CostRecord, CostRow
from eval.health import DriftRecord, HealthRecord, SeamRecord, ShiftRecord
from eval.latent_health import LatentHealth
from eval.rate.record import CodecPoint, Match, RatePoint, RateRecord
from eval.report import Computed, Report
from tokenizer.spec import Latent, LatentSpec

Make = Callable[..., Report]


class Balanced(HTMLParser):
    """Every tag that opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "iframe", "img"}
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def point(setting: str, bits: float, psnr: float) -> RatePoint:
    return RatePoint(
        setting=setting,
        bits_per_pixel=bits,
        bits_per_pixel_ci95=(bits, bits),
        ideal_bits_per_pixel=bits,
        fixed_bits_per_pixel=4 * bits,
        psnr=psnr,
        psnr_ci95=(psnr - 1, psnr + 1),
        ssim=0.9,
        ssim_ci95=(0.8, 0.95),
        file="rate/a.safetensors",
        file_bytes=2048,
        table_bytes=1024,
    )


@pytest.fixture
def full(make_report: Make) -> Report:
    best = CodecPoint(quality=30, bits_per_pixel=0.49, psnr=26.5, ssim=0.8)
    rate = RateRecord(
        coder="a coder",
        num_fitted=4,
        num_images=3,
        points=(point("step <1>", 0.5, 28.0), point("step 0.5", 0.9, float("inf"))),
        codecs={"jpeg": (best,)},
        matches=(
            Match(setting="step <1>", bits_per_pixel=0.5, codec="jpeg", best=best, gain=1.5),
            Match(setting="step <1>", bits_per_pixel=0.5, codec="avif", best=None, gain=None),
        ),
        missing={"step 9": "too coarse"},
    )
    spec = LatentSpec.image(4, 8, codebook_size=8).with_statistics({"z": ([0.1] * 4, [2.0] * 4)})
    latents = LatentHealth(spec)
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents.update(Latent({"z": z}, (64, 64), "", {"z": torch.arange(192).view(3, 8, 8) % 5}))
    health = HealthRecord(
        num_images=3,
        equivariance={"rot90": ShiftRecord(error=0.25, psnr=21.0)},
        drift=DriftRecord(psnr=(30.0, 29.0), step=(30.0, 40.0)),
        seams=SeamRecord(
            tiles="20 pixels, overlap 8",
            psnr_whole=30,
            psnr_tiled=29,
            psnr_between=35,
            seam_ratio=1.25,
            share=0.4,
        ),
        noise=0.5,
        psnr_noise=24.0,
        cycle_error=0.125,
        missing={"equivariance.scale": "a reason"},
    )
    row = CostRow(operation="encode", batch_size=8, p50_ms=1.5, p95_ms=2.5, images_per_s=5333.33)
    cost = CostRecord(
        resolution=64, dtype="float32", repeats=3, rows=(row,), parameters={"all": 1_234_000},
        gflops_encode=1.5, gflops_decode=2.5, peak_resident_mib=321.0,
    )  # fmt: skip
    whole = Computed(value=25.0, ci95=(24.0, 26.0), num_images=7, higher_is_better=True)
    part = Computed(value=21.5, ci95=(20.5, 22.5), num_images=3, higher_is_better=True)
    return make_report(psnr=whole).model_copy(
        update={
            "slices": {"<b>text": {"psnr": part}},
            "rate": rate,
            "latents": latents.compute(3 * 64 * 64),
            "health": health,
            "cost": cost,
        }
    )


def test_nothing_measured_nothing_written(make_report: Make) -> None:
    assert chapters(make_report()) == []


def test_every_chapter_shows_its_numbers(full: Report) -> None:
    slices, rate, latents, health, cost = chapters(full)
    for text, shown in (
        (slices, ("&lt;b&gt;text", "21.5000 (20.5000 to 22.5000)", "25.0000 (24.0000 to 26.0000)")),
        (
            rate,
            ("step &lt;1&gt;", "28.00 (27.00 to 29.00)", "26.50 dB (ours +1.50), quality 30", "too coarse"),
        ),
        (rate, ("even its smallest files are larger", "PSNR in dB over bits per pixel", "2.0", "a coder")),
        (
            latents,
            (
                "effective rank",
                "spectrum slope",
                "5 of 8 codes used, 3 dead",
                "Eigenvalues",
                "standard normal",
            ),
        ),
        (
            health,
            (
                "a quarter turn",
                "error 0.2500",
                "1.250 times that of one piece",
                "Generations",
                "off by 0.1250",
                "a reason",
            ),
        ),
        (cost, ("5333.33", "1.234 M", "1.500 encoding, 2.500 decoding", "321 MiB", "in one piece")),
    ):
        Balanced(text)
        for words in shown:
            assert words in text
    assert "<b>" not in slices


def test_reports_with_chapters_come_back_from_json(full: Report) -> None:
    import json

    assert Report.parse(json.loads(full.to_text())).to_text() == full.to_text()
