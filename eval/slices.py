"""Parts of a set of pictures, each with its own means and intervals: text, faces, texture, whatever is listed.

A slice is a file with one picture a line, named as in ``per_image.csv``, or a folder of the data. Only scores by
picture have slices: a distance between sets of a few pictures says nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.errors import EvaluationError
from eval.metrics import Score
from eval.metrics.score import mean_score
from eval.protocols import EvaluationProtocol
from eval.report import Computed, NotComputed


def members(slices: Mapping[str, str], names: Sequence[str]) -> dict[str, list[int]]:
    """Places of the pictures of each slice among ``names``, rising.

    Args:
        slices: a list's file, or a folder of the data, by the slice's name.
        names: of the pictures, relative to the data's root.

    Raises:
        EvaluationError: if a slice holds none of the pictures.
    """
    found = {}
    for title, source in slices.items():
        file = Path(source)
        if file.is_file():
            listed = {line.strip() for line in file.read_text(encoding="utf-8").splitlines()} - {""}
            places = [place for place, name in enumerate(names) if name in listed]
            what = f"none of the {len(listed)} names in {source} is a picture of this job (the first is {names[0]})"
        else:
            head = f"{source.strip('/')}/"
            places = [place for place, name in enumerate(names) if name.startswith(head)]
            what = f"{source} is neither a file of names nor a folder of the data with pictures of this job"
        if not places:
            raise EvaluationError(f"slices.{title}: {what}")
        found[title] = places
    return found


def sliced(
    slices: Mapping[str, str],
    names: Sequence[str],
    entries: Mapping[str, Computed | NotComputed],
    scores: Mapping[str, Score],
    protocol: EvaluationProtocol,
) -> dict[str, dict[str, Computed]]:
    """Every score by picture over every slice: slice -> metric -> mean with its interval.

    Args:
        slices, names: as ``members`` takes them.
        entries, scores: as ``Panel.compute`` gives them, of the pictures in the order of ``names``.
        protocol: how intervals are drawn.

    Raises:
        EvaluationError: as ``members``.
    """
    interval = protocol.interval
    found: dict[str, dict[str, Computed]] = {}
    for title, places in members(slices, names).items():
        found[title] = {}
        for name, entry in entries.items():
            score = scores.get(name.removesuffix("_unverified"))
            if not isinstance(entry, Computed) or score is None or not score.per_image:
                continue
            values = [score.per_image[place] for place in places]
            part = mean_score(values, resamples=interval.resamples, seed=interval.seed)
            found[title][name] = Computed(
                value=part.value,
                ci95=part.ci95,
                num_images=part.num_images,
                higher_is_better=entry.higher_is_better,
                details=dict(part.details),
                weights=entry.weights,
            )
    return found
