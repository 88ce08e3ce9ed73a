"""What requests and answers about jobs hold, shaped like OpenAI's videos: ``id``, ``object``, ``status``, ``progress``
from 0 to 100, ``created_at`` in whole Unix seconds, ``error``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

from tokenizer.core.config import Config

# Protocols and metrics, as they stand in a command line.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
ReportFormat = Literal["html", "json", "csv", "png", "npz"]


class EvaluationRequest(Config):
    """Body of POST /v1/evaluations: what ``eval.reconstruct`` or ``eval.generate`` is to measure."""

    job: Literal["reconstruct", "generate"] = Field(
        "reconstruct", description="Measure a tokenizer, or what a generator makes."
    )
    model: StrictStr | None = Field(None, description="Name in GET /v1/models; the default without it.")
    data: StrictStr = Field(description="A data set of the server, by name (GET /v1/evaluations/data).")
    through: Literal["server", "folder"] = Field(
        "server",
        description="Ask this server, or load the weights once more beside it, which protocols with a sampled "
        "posterior need.",
    )
    protocol: Name = Field("canon-v1", description="As `python -m eval.protocols` lists them.")
    also: tuple[Name, ...] = Field(
        (), max_length=16, description="More protocols in the same pass (reconstruct)."
    )
    metrics: tuple[Name, ...] | None = Field(
        None, max_length=64, description="Only these; else the protocol's."
    )
    require: tuple[Name, ...] = Field((), max_length=64, description="Metrics without which the job fails.")
    num_images: StrictInt | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Pictures of the data set, evenly spaced; or samples (generate).",
    )
    resolution: StrictInt | None = Field(
        None, ge=8, le=8192, description="Side of the crop (reconstruct); without it that of the pictures."
    )
    on_corrupt: Literal["fail", "skip"] = Field(
        "fail", description="What to do with a picture that cannot be read."
    )
    batch_size: StrictInt = Field(16, ge=1, le=256)
    seed: StrictInt | None = Field(None, ge=0, lt=2**53, description="Of the first sample (generate).")
    num_steps: StrictInt | None = Field(None, ge=1, le=10_000, description="Sampling steps (generate).")
    guidance: float | None = Field(None, ge=0.0, le=1000.0, description="Guidance (generate).")

    @model_validator(mode="after")
    def _fits_job(self) -> EvaluationRequest:
        other = {"reconstruct": ("seed", "num_steps", "guidance"), "generate": ("also", "resolution")}[
            self.job
        ]
        for name in other:
            if getattr(self, name) not in (None, ()):
                raise ValueError(f"{name} has no meaning with job={self.job}: leave it out")
        return self


class JobError(BaseModel):
    """Why a job has failed."""

    code: str
    message: str = Field(description="What went wrong and what to do about it.")


class JobAnswer(BaseModel):
    """A job."""

    id: str
    object: Literal["job", "evaluation"]
    kind: str = Field(description="encode, decode, reconstruct, generate, evaluation.")
    status: Status
    progress: int = Field(ge=0, le=100, description="Percent.")
    created_at: int = Field(description="Unix seconds, like the other times.")
    started_at: int | None
    completed_at: int | None = Field(description="When it ended, in whatever way.")
    expires_at: int | None = Field(description="When it and its files are deleted.")
    queue_position: int | None = Field(description="1 is next; null once it has started.")
    eta_s: float | None = Field(description="Seconds to its end, as far as can be told.")
    phase: str = Field(description="What is being done.")
    done: int
    total: int = Field(description="0 while unknown.")
    images_per_s: float | None
    attempts: int = Field(description="How often it was started.")
    cancelling: bool = Field(description="Its cancellation was asked for and has not been noticed yet.")
    error: JobError | None
    request: dict[str, Any] = Field(description="What was asked for.")
    result: str | None = Field(description="Where the result is, once there is one.")
    media_type: str | None = Field(description="Of the result.")


class EvaluationAnswer(JobAnswer):
    """An evaluation."""

    metrics: dict[str, float | str | None] = Field(
        description="Values of the report by metric; null where it says what is missing. Empty until it has ended."
    )
    report: str | None = Field(description="Where the report is.")
    log: str = Field(description="Where its output is.")


class JobsAnswer(BaseModel):
    """A page of jobs."""

    object: Literal["list"] = "list"
    data: list[JobAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EvaluationsAnswer(BaseModel):
    """A page of evaluations."""

    object: Literal["list"] = "list"
    data: list[EvaluationAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedAnswer(BaseModel):
    """A job that is gone."""

    id: str
    object: Literal["job.deleted", "evaluation.deleted"]
    deleted: Literal[True] = True


class DataAnswer(BaseModel):
    """Data sets that evaluations can name."""

    data: list[str]


class ListQuery(BaseModel):
    """Which page of a list; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(20, ge=1, le=100)
    after: str | None = Field(None, max_length=64, description="Id of the last one of the page before.")
    order: Literal["desc", "asc"] = Field("desc", description="Newest or oldest first.")
    status: Status | None = None


class JobsQuery(ListQuery):
    """Which page of all jobs."""

    kind: Name | None = None


class ReportQuery(BaseModel):
    """Which file of an evaluation; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: ReportFormat = "html"
    protocol: Name | None = Field(None, description="One of `also`; else the report of `protocol`.")
