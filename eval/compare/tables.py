"""A comparison as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence

from eval.compare.columns import COLUMNS
from eval.compare.record import Comparison, MemberRow, PromiseRow, ReferenceRow

CODEC_TITLES = {"floor": "floor", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}


def title_of(row: MemberRow | ReferenceRow) -> str:
    """How tables call a row."""
    if isinstance(row, MemberRow):
        return row.label
    return f"{CODEC_TITLES[row.kind]}, {row.setting}"


def main_columns(comparison: Comparison, *, run: bool = False) -> list[str]:
    """Columns of the first table: what is sent, the pictures, the codes, the cost, and how long it ran."""
    left_out = {"latent"} if run else {"latent", "run"}
    return [name for name in comparison.columns() if COLUMNS[name].group not in left_out]


def latent_columns(comparison: Comparison) -> list[str]:
    """Columns of the second table, members only."""
    return [name for name in comparison.columns() if COLUMNS[name].group == "latent"]


def markdown(comparison: Comparison) -> str:
    """Both tables, the promises, what is missing and where the numbers come from."""
    measured = [row for row in comparison.members if row.status == "done"]
    blocks = [_lead(comparison)]
    if measured:
        blocks.append(_grid("tokenizer", comparison.rows(), main_columns(comparison)))
        latents = latent_columns(comparison)
        if latents:
            blocks.append("Latents:\n\n" + _grid("tokenizer", measured, latents))
    blocks += [_promises(comparison.promises)] if comparison.promises else []
    notes = remarks(comparison)
    blocks += ["\n".join(f"* {note}" for note in notes)] if notes else []
    return "\n\n".join(blocks) + "\n"


def summary(comparison: Comparison) -> str:
    """A line a member for the terminal."""
    width = max(len(row.label) for row in comparison.members)
    lines = []
    for row in comparison.members:
        values = row.numbers.values
        shown = ", ".join(
            f"{COLUMNS[name].title} {COLUMNS[name].write(values[name])}"
            for name in ("bits_per_pixel", "psnr", "gain", "codebook_use")
            if name in values
        )
        lines.append(f"{row.label:{width}s}  {shown or f'{row.status}: {row.why}'}")
    return "\n".join(lines) + "\n"


def csv_text(comparison: Comparison) -> str:
    """One line a row and all columns, numbers unrounded."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = comparison.columns()
    table.writerow(["row", "kind", "status", "bits", *columns, "remark"])
    for row in comparison.rows():
        kind, status = ("member", row.status) if isinstance(row, MemberRow) else (row.kind, "")
        remark = row.why if isinstance(row, MemberRow) else row.remark
        values = (row.numbers.values.get(name) for name in columns)
        cells = ("" if value is None else f"{value:.8g}" for value in values)
        bits = "" if row.bits is None else f"{row.bits:.8g}"
        table.writerow([title_of(row), kind, status, bits, *cells, remark])
    return text.getvalue()


def remarks(comparison: Comparison) -> list[str]:
    """Sentences on rows without numbers, and on numbers that no row has."""
    found = [f"{row.label}: {row.status}. {row.why}".strip() for row in comparison.members if row.why]
    found += [
        f"{CODEC_TITLES[row.kind]} at {row.budget:.0f} bits a picture: {row.remark}"
        for row in comparison.references
        if row.remark
    ]
    reasons: dict[str, set[str]] = {}
    for row in comparison.members:
        for name, reason in row.numbers.missing.items():
            if not any(name in other.numbers.values for other in comparison.members):
                reasons.setdefault(name, set()).add(reason)
    found += [
        f"{COLUMNS[name].title if name in COLUMNS else name}: not computed, {'; '.join(sorted(reason))}"
        for name, reason in reasons.items()
    ]
    return found


def _lead(comparison: Comparison) -> str:
    machine = comparison.machine
    return (
        f"`{comparison.command}`\n\n"
        f"Each tokenizer: {comparison.budget} at {comparison.resolution} x {comparison.resolution}; measured on "
        f"{comparison.data.num_used} held-out pictures under {comparison.protocol.name} "
        f"`{comparison.protocol.hash}`. {machine.processor}, {machine.device}, {machine.threads} threads, torch "
        f"{machine.torch}; commit {comparison.commit or 'unknown'}; {comparison.seconds:.0f} s.\n\n"
        "Bits are those of what is sent and measured: codes, or continuous values rounded to the fewest bits that cost "
        "at most 0.1 dB. Floor: the mean-pooled picture at the same bits. JPEG and WebP: the highest quality whose "
        "files, headers included, have at most these bits on average."
    )


def _grid(head: str, rows: Sequence[MemberRow | ReferenceRow], columns: Sequence[str]) -> str:
    lines = [
        "| " + " | ".join([head, *(COLUMNS[name].title for name in columns)]) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for row in rows:
        cells = [COLUMNS[name].write(row.numbers.values.get(name)) for name in columns]
        name = title_of(row) if isinstance(row, ReferenceRow) else f"`{row.label}`"
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def _promises(promises: Sequence[PromiseRow]) -> str:
    lines = ["| promise | number | with | without | better |", "|---|---|---:|---:|---|"]
    for row in promises:
        column = COLUMNS[row.promise.improves]
        lines.append(
            f"| `{row.promise.member}` over `{row.promise.against}` | {column.title} | "
            f"{column.write(row.value)} | {column.write(row.against)} | {row.verdict()} |"
        )
    return "\n".join(lines)
