"""What can go wrong in a job.

EvaluationError           the caller's mistake; the command prints it and exits with 2
    CorruptPictureError   a picture cannot be read
NotComputedError          one metric cannot be computed; the report says so in its place, the job goes on
"""


class EvaluationError(ValueError):
    """The job cannot run as asked; the sentence says what to change."""


class CorruptPictureError(EvaluationError):
    """A file that should be a picture cannot be read as one."""


class NotComputedError(Exception):
    """A metric cannot be computed.

    Attributes:
        what: what is missing.
        put: where to put it, or what to do.
    """

    def __init__(self, what: str, put: str) -> None:
        super().__init__(f"{what}; {put}")
        self.what = what
        self.put = put
