"""The chapters of a report's page beyond its metrics, each only if measured: slices, rate, latents, health, cost."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from eval.cost import CostRecord
from eval.health import HealthRecord
from eval.latent_health import BIN, REACH, LatentRecord, PartRecord
from eval.plot import Curve, Scale, bars, chart
from eval.rate.record import CodecPoint, RateRecord
from eval.report import Computed, Report

TITLES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}
CHANGES = {"rot90": "a quarter turn", "scale": "half the size", "shift": "shifted by a cell"}
RATE: tuple[str, Scale] = ("bits per pixel", "log2")


def chapters(report: Report) -> list[str]:
    """Parts of HTML, in order."""
    found = []
    if report.slices:
        found.append(_slices(report))
    if report.rate is not None:
        found.append(rate_chapter(report.rate))
    if report.latents is not None:
        found.append(latents_chapter(report.latents))
    if report.health is not None:
        found.append(health_chapter(report.health))
    if report.cost is not None:
        found.append(cost_chapter(report.cost))
    return found


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts; the first cell of each row is its name."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _slices(report: Report) -> str:
    whole = {name: entry for name, entry in report.metrics.items() if isinstance(entry, Computed)}
    names = [name for name in whole if any(name in values for values in report.slices.values())]
    rows = [["all", str(report.num_images), *(_interval(whole[name]) for name in names)]]
    for title, values in report.slices.items():
        count = next((str(entry.num_images) for entry in values.values()), "0")
        rows.append([title, count, *(_interval(values[name]) if name in values else "-" for name in names)])
    return "<h2>Slices</h2>" + grid(["pictures", "n", *names], rows)


def rate_chapter(rate: RateRecord) -> str:
    """Curves and tables of a rate."""
    lead = (
        f"Latents were quantised, written to a file by the {rate.coder}, read back bit for bit and decoded: "
        f"{rate.num_images} pictures, under tables that {rate.num_fitted} others were counted for. Codecs coded the "
        "same pictures; their whole files count."
    )
    parts = ["<h2>Rate and distortion</h2>"]
    if rate.points:
        parts.append(f"<p>{escape(lead)}</p>")
        parts.append(f'<div class="plots">{_curves(rate, "psnr")}{_curves(rate, "ssim")}</div>')
        head = [
            "setting",
            "bits/pixel",
            "ideal",
            "without a coder",
            "PSNR",
            "SSIM",
            "file, KiB",
            "tables, KiB",
        ]
        rows = [
            [
                item.setting,
                f"{item.bits_per_pixel:.4f} ({item.bits_per_pixel_ci95[0]:.4f} to {item.bits_per_pixel_ci95[1]:.4f})",
                f"{item.ideal_bits_per_pixel:.4f}",
                f"{item.fixed_bits_per_pixel:.4f}",
                f"{item.psnr:.2f} ({item.psnr_ci95[0]:.2f} to {item.psnr_ci95[1]:.2f})",
                f"{item.ssim:.4f}",
                f"{item.file_bytes / 1024:.1f}",
                f"{item.table_bytes / 1024:.1f}",
            ]
            for item in rate.points
        ]
        parts.append(grid(head, rows))
        parts.append(_matches(rate))
    return "".join([*parts, *_missing(rate.missing)])


def _curves(rate: RateRecord, number: str) -> str:
    ours = sorted(rate.points, key=lambda item: item.bits_per_pixel)
    curves = [
        Curve(
            "this tokenizer",
            [(item.bits_per_pixel, getattr(item, number)) for item in ours],
            [f"{item.setting}, {item.psnr:.2f} dB at {item.bits_per_pixel:.3f} bits" for item in ours],
        )
    ]
    low, high = (
        limit * factor for limit, factor in ((ours[0].bits_per_pixel, 1 / 8), (ours[-1].bits_per_pixel, 8))
    )
    for name, points in rate.codecs.items():
        near = [item for item in points if low <= item.bits_per_pixel <= high]
        curves.append(
            Curve(
                TITLES.get(name, name),
                [(item.bits_per_pixel, getattr(item, number)) for item in near],
                [f"quality {item.quality}, {item.psnr:.2f} dB" for item in near],
                dashed=True,
            )
        )
    label = "PSNR in dB" if number == "psnr" else "SSIM"
    return chart(f"{label} over bits per pixel", curves, across=RATE, up=(label, "linear"))


def _matches(rate: RateRecord) -> str:
    if not rate.matches:
        return ""
    codecs = list(dict.fromkeys(match.codec for match in rate.matches))
    rows = []
    for item in rate.points:
        found = {match.codec: match for match in rate.matches if match.setting == item.setting}
        cells = [_match(found[name].best, found[name].gain) if name in found else "-" for name in codecs]
        rows.append([item.setting, f"{item.bits_per_pixel:.4f}", f"{item.psnr:.2f}", *cells])
    head = ["at equal size", "bits/pixel", "PSNR", *(TITLES.get(name, name) for name in codecs)]
    return grid(head, rows)


def _match(best: CodecPoint | None, gain: float | None) -> str:
    if best is None or gain is None:
        return "even its smallest files are larger"
    return (
        f"{best.psnr:.2f} dB (ours {gain:+.2f}), quality {best.quality}, {best.bits_per_pixel:.4f} bits/pixel"
    )


def latents_chapter(latents: LatentRecord) -> str:
    """Plots and numbers of every part."""
    unit = (
        "Values are in units of the tokenizer's statistics."
        if latents.normalised
        else "This tokenizer has no latent statistics: values are as the encoder gives them."
    )
    parts = ["<h2>Latents</h2>", f"<p>{unit} Gathered over all pictures.</p>"]
    for part in latents.parts:
        title = f"<h3>{escape(part.name)}</h3>" if len(latents.parts) > 1 else ""
        parts += [title, f'<div class="plots">{"".join(_latent_plots(part))}</div>', _latent_numbers(part)]
        parts += _missing(part.missing)
    return "".join(parts)


def _latent_plots(part: PartRecord) -> list[str]:
    found = []
    if part.channels is not None:
        groups = [("std of channel", part.channels.std), ("mean of channel", part.channels.mean)]
        found.append(bars("Channels", groups, across="channel", up="standard deviation and mean"))
        found.append(_histogram(part))
    if part.eigenvalues:
        places = [(float(place), value) for place, value in enumerate(part.eigenvalues, start=1)]
        curve = Curve("eigenvalues of the channels' covariance", places)
        found.append(chart("Eigenvalues", [curve], across=("direction", "count"), up=("variance", "log10")))
    if part.spectrum is not None:
        spectrum = part.spectrum
        points = list(zip(spectrum.frequency, spectrum.power, strict=True))
        curve = Curve(f"latents, slope {spectrum.slope:.2f}", points)
        axis: tuple[str, Scale] = ("cycles per cell", "log2")
        found.append(chart("Spectrum", [curve], across=axis, up=("power", "log10")))
    return found


def _histogram(part: PartRecord) -> str:
    total = sum(part.histogram)
    places = [-REACH + (number + 0.5) * BIN for number in range(len(part.histogram) - 2)]
    density = [count / total / BIN for count in part.histogram[1:-1]]
    normal = [math.exp(-place * place / 2.0) / math.sqrt(2.0 * math.pi) for place in places]
    curves = [
        Curve("all values", list(zip(places, density, strict=True))),
        Curve("standard normal", list(zip(places, normal, strict=True)), dashed=True),
    ]
    return chart("Values", curves, across=("value", "linear"), up=("density", "linear"))


def _latent_numbers(part: PartRecord) -> str:
    rows = [["values of a channel", str(part.count)]]
    channels = part.channels
    if channels is not None:
        count = len(channels.std)
        farthest = max(range(count), key=channels.peak.__getitem__)
        rows += [
            ["channels", f"{count}, of which {100 * (part.dead or 0.0):.1f} % hardly move"],
            ["kurtosis, mean over channels", f"{sum(channels.kurtosis) / count:.2f} (3 is normal)"],
            ["gap to the prior", f"{sum(channels.prior_gap) / count:.4f} nats a channel"],
            [
                "outliers",
                f"{100 * (part.far or 0.0):.4f} % of the values beyond 6; the farthest, in channel {farthest}, is "
                f"{channels.peak[farthest]:.1f} deviations off",
            ],
        ]
    if part.effective_rank is not None and part.participation is not None:
        text = f"{part.effective_rank:.2f} by entropy, {part.participation:.2f} by participation"
        rows.append(["effective rank", text])
    if part.spectrum is not None:
        text = f"{part.spectrum.slope:.2f}, {100 * part.spectrum.upper_half:.1f} % of the energy in the upper half"
        rows.append(["spectrum slope", text])
    for number, book in enumerate(part.codebooks):
        rows.append(
            [
                f"codebook {number}" if len(part.codebooks) > 1 else "codebook",
                f"{book.used} of {book.size} codes used, {book.dead} dead ({100 * book.use:.1f} % of those that "
                f"{book.num_tokens} tokens can reach), perplexity {book.perplexity:.1f}, {book.entropy_bits:.3f} bits "
                f"of {math.log2(book.size):.3f}",
            ]
        )
    if part.fixed_bits_per_pixel is not None and part.entropy_bits_per_pixel is not None:
        text = (
            f"{part.fixed_bits_per_pixel:.4f} as numbers, {part.entropy_bits_per_pixel:.4f} by their entropy"
        )
        rows.append(["bits per pixel of indices", text])
    return grid(["number", "value"], rows)


def health_chapter(health: HealthRecord) -> str:
    """Numbers of changed latents and the plot of generations."""
    rows = [
        [f"equivariance, {CHANGES.get(name, name)}", f"error {item.error:.4f}, PSNR {item.psnr:.2f} dB"]
        for name, item in health.equivariance.items()
    ]
    if health.psnr_noise is not None:
        rows.append([f"noise of {health.noise:g} deviations", f"PSNR {health.psnr_noise:.2f} dB"])
    if health.cycle_error is not None:
        rows.append(["latent encoded once more", f"off by {health.cycle_error:.4f} of its norm"])
    if health.seams is not None:
        seams = health.seams
        rows.append(
            [
                f"tiles of {seams.tiles}",
                f"PSNR {seams.psnr_tiled:.2f} dB, in one piece {seams.psnr_whole:.2f}; {seams.psnr_between:.2f} "
                f"between them; error in the seams over that elsewhere: {seams.seam_ratio:.3f} times that of one piece",
            ]
        )
    parts = ["<h2>Health under change</h2>", f"<p>Of {health.num_images} pictures.</p>"]
    if rows:
        parts.append(grid(["change", "what becomes of it"], rows))
    if health.drift is not None:
        drift = health.drift
        curves = [
            Curve(
                name,
                [(float(place), value) for place, value in enumerate(values, start=1)],
                [name] * len(values),
            )
            for name, values in (("against the original", drift.psnr), ("against the one before", drift.step))
        ]
        plot = chart("Generations", curves, across=("generation", "count"), up=("PSNR in dB", "linear"))
        parts.append(f'<div class="plots">{plot}</div>')
    parts += _missing(health.missing)
    return "".join(parts)


def cost_chapter(cost: CostRecord) -> str:
    """Times by batch size, and what does not depend on it."""
    how = f"{cost.resolution} x {cost.resolution}, {cost.dtype}, " + (
        "in one piece" if cost.tiles is None else f"tiles of {cost.tiles}"
    )
    head = ["operation", "batch", "p50, ms", "p95, ms", "images/s", "processor, ms", "peak memory, MiB"]
    rows = [
        [
            row.operation,
            str(row.batch_size),
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.images_per_s:.2f}",
            "-" if row.processor_ms is None else f"{row.processor_ms:.2f}",
            "-" if row.peak_memory_mib is None else f"{row.peak_memory_mib:.0f}",
        ]
        for row in cost.rows
    ]
    facts = [[f"parameters, {name}", f"{count / 1e6:.3f} M"] for name, count in cost.parameters.items()]
    if cost.gflops_encode is not None and cost.gflops_decode is not None:
        text = f"{cost.gflops_encode:.3f} encoding, {cost.gflops_decode:.3f} decoding one picture"
        facts.append(["GFLOPs", text])
    facts.append(
        ["peak memory of the process", f"{cost.peak_resident_mib:.0f} MiB, metrics and libraries included"]
    )
    parts = ["<h2>Cost</h2>", f"<p>{escape(how)}, {cost.repeats} calls of each.</p>", grid(head, rows)]
    parts += [grid(["fact", "value"], facts), *_missing(cost.missing)]
    return "".join(parts)


def _missing(missing: Mapping[str, str]) -> list[str]:
    return [f"<p>{escape(name)}: not computed, {escape(why)}</p>" for name, why in missing.items()]


def _interval(entry: Computed) -> str:
    return f"{entry.value:.4f} ({entry.ci95[0]:.4f} to {entry.ci95[1]:.4f})"
