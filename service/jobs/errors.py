"""What can go wrong with jobs; drawn with all others in ``service/errors.py``."""
# ruff: noqa: N818  as in service/errors.py

from __future__ import annotations

from service.errors import ParameterError


class JobsOff(ParameterError):
    """The server has no folder for jobs: ``TESSERA_STATE`` is not set."""

    status = 404
    code = "jobs_off"


class UnknownJob(ParameterError):
    """No such job, or one of another key."""

    status = 404
    code = "unknown_job"


class UnknownDataSet(ParameterError):
    """No such name in ``TESSERA_DATA``."""

    status = 404
    code = "unknown_data_set"


class NoReport(ParameterError):
    """The evaluation has not written this file, at least not yet."""

    status = 404
    code = "no_report"


class JobNotFinished(ParameterError):
    """The job waits or runs, and what was asked for needs its end."""

    status = 409
    code = "job_not_finished"


class NoResult(ParameterError):
    """The job has no result, at least not yet."""

    status = 409
    code = "no_result"


class IdempotencyConflict(ParameterError):
    """The ``Idempotency-Key`` was used for another request."""

    code = "idempotency_conflict"


class BadRange(ParameterError):
    """A ``Range`` that the file does not have."""

    status = 416
    code = "bad_range"

    @property
    def headers(self) -> dict[str, str]:
        """Tells the size, so that clients know where the file ends by now."""
        return {"content-range": f"bytes */{self.details.get('size', '*')}"}
