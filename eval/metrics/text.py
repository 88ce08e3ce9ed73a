"""Text fidelity: what a reader reads in the reconstruction against what it reads in the original.

The error of the reader itself is in both; a picture without text counts for nothing. VTBench's word error counts
characters over words, which its protocol keeps.
Source: Lin et al. 2025, VTBench: Evaluating Visual Tokenizers for Autoregressive Image Generation, arXiv 2505.13439.

Letters: B pictures in a batch.
"""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from eval.edits import edit_distance
from eval.errors import NotComputedError
from eval.metrics.score import Score, check_pair, ratio_score
from eval.protocols import Domain, EvaluationProtocol
from eval.reading import TextReader, load_reader
from eval.rows import Rows
from eval.weights import WeightsConfig, WeightsRecord

Unit = Literal["characters", "words"]


class TextError:
    """Character or word error rate over all pictures: errors of all over length of all, not a mean of rates."""

    higher_is_better = False
    domain: Domain = "uint8"

    def __init__(self, protocol: EvaluationProtocol, reader: TextReader, unit: Unit) -> None:
        self.protocol = protocol
        self.reader = reader
        self.unit: Unit = unit
        self._counts = Rows()

    @property
    def weights(self) -> tuple[WeightsRecord, ...]:
        """The files of the reader."""
        return self.reader.records

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: uint8 pictures (B, 3, H, W) both."""
        check_pair(real, fake)
        counts = [
            text_errors(made, read, self.unit, self.protocol.text.word_error)
            for read, made in zip(self.reader(real), self.reader(fake), strict=True)
        ]
        self._counts.add(torch.tensor(counts, dtype=torch.float64), keys)

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._counts.merge(other._counts)

    def compute(self) -> Score:
        """Errors over the length of the originals' texts; 0 where all was read alike, above 1 where more was made up.

        Raises:
            NotComputedError: if the reader finds no text in any original.
        """
        errors, lengths = self._counts.table().unbind(dim=1)
        if not bool(lengths.sum() > 0):
            raise NotComputedError(
                "text in the original pictures", "there are none that this reader can read"
            )
        interval = self.protocol.interval
        details: dict[str, float | int | str] = {
            "reader": self.protocol.text.reader,
            self.unit: int(lengths.sum()),
            "pictures_with_text": int((lengths > 0).sum()),
        }
        return ratio_score(
            errors.tolist(),
            lengths.tolist(),
            resamples=interval.resamples,
            seed=interval.seed,
            details=details,
        )


def text_errors(
    made: str, read: str, unit: Unit, word_error: Literal["words", "characters"] = "words"
) -> tuple[int, int]:
    """(errors, length) of a text against that of the original.

    Words are what blanks separate. ``word_error`` says what their errors are counted in.
    """
    if unit == "characters":
        return edit_distance(made, read), len(read)
    made_words, read_words = made.split(), read.split()
    if word_error == "characters":
        return edit_distance(" ".join(made_words), " ".join(read_words)), len(read_words)
    return edit_distance(made_words, read_words), len(read_words)


def load_text_error(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device, *, unit: Unit
) -> TextError:
    """One of the two error rates, with the protocol's reader.

    Raises:
        NotComputedError: if the reader is not on this machine.
    """
    return TextError(protocol, load_reader(protocol.text, weights, device), unit)
