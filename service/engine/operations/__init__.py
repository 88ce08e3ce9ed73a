"""What the worker can do, one file an operation; a new one is a job in messages.py, a file here, a line
below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.engine.clip_jobs import DecodeClipJob, EncodeClipJob, ReconstructClipJob
from service.engine.messages import DecodeJob, EncodeJob, GenerateJob, Job, PipelineJob, ReconstructJob
from service.engine.operations.clips import DecodeClip, EncodeClip, ReconstructClip
from service.engine.operations.decode import Decode
from service.engine.operations.diffusers_pipeline import DiffusersPipeline
from service.engine.operations.encode import Encode
from service.engine.operations.generate import Generate
from service.engine.operations.reconstruct import Reconstruct

if TYPE_CHECKING:
    from service.engine.models import Models
    from service.engine.operations.base import Operation, Outlook


def build(
    models: Models, outlook: Outlook
) -> dict[type[Job], Operation[Any, Any]]:  # each has its own payload
    """The operation of every kind of job; ``outlook`` is what the worker knows of jobs while they run."""
    return {
        EncodeJob: Encode(models),
        DecodeJob: Decode(models),
        ReconstructJob: Reconstruct(models),
        GenerateJob: Generate(models),
        PipelineJob: DiffusersPipeline(models, outlook),
        EncodeClipJob: EncodeClip(models, outlook),
        ReconstructClipJob: ReconstructClip(models, outlook),
        DecodeClipJob: DecodeClip(models, outlook),
    }
