"""The worst, the middle and the best pictures of an evaluation, made once more for its page."""

from collections.abc import Callable, Sequence

from torch import Tensor

from eval.page import Figure, Section
from eval.wipe import WHITE_AT, heat


def gallery(
    psnr: Sequence[float], names: Sequence[str], remake: Callable[[int], tuple[Tensor, Tensor]], count: int
) -> list[Section]:
    """Up to ``count`` pictures from each end and the middle of the order by PSNR.

    Args:
        psnr: of each picture, in dB.
        names: of the pictures.
        remake: number of a picture -> its original and its reconstruction, uint8 (3, H, W).
        count: pictures of each section.
    """
    order = sorted(range(len(psnr)), key=psnr.__getitem__)
    sections = []
    for title, chosen in choose(order, count).items():
        figures = []
        for index in chosen:
            real, fake = remake(index)
            shown = [
                ("original", real),
                ("reconstruction", fake),
                (f"error, white from {WHITE_AT:.0f} grey levels on", heat(real, fake)),
            ]
            figures.append(Figure(shown, f"{names[index]}: {psnr[index]:.2f} dB", wiped=True))
        sections.append(Section(title, figures))
    return sections


def choose(order: Sequence[int], count: int) -> dict[str, list[int]]:
    """Up to ``count`` indices from the start, the middle and the end of ``order``, none of them twice."""
    count = min(count, len(order) // 3) if len(order) >= 3 else 1
    first = (len(order) - count) // 2
    groups = {
        "Worst by PSNR": list(order[:count]),
        "Middle": list(order[first : first + count]),
        "Best": list(order[len(order) - count :])[::-1],
    }
    seen: set[int] = set()
    chosen = {}
    for title, group in groups.items():
        fresh = [index for index in group if index not in seen]
        seen.update(fresh)
        if fresh:
            chosen[title] = fresh
    return chosen
