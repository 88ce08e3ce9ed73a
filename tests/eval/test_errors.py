"""The tree of errors."""

from eval.errors import CorruptPictureError, EvaluationError, NotComputedError


def test_a_corrupt_picture_ends_a_job_as_a_mistake_and_a_missing_metric_does_not() -> None:
    assert issubclass(CorruptPictureError, EvaluationError)
    assert issubclass(EvaluationError, ValueError)
    assert not issubclass(NotComputedError, ValueError)


def test_not_computed_carries_both_halves() -> None:
    error = NotComputedError("a file", "there")
    assert (error.what, error.put, str(error)) == ("a file", "there", "a file; there")
