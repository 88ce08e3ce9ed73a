"""What can go wrong with videos; drawn with all others in ``service/errors.py``."""
# ruff: noqa: N818  as in service/errors.py

from __future__ import annotations

from service.errors import BodyError, ParameterError


class NoVideo(BodyError):
    """A container without pictures that can be decoded."""

    status = 415
    code = "no_video"


class TruncatedVideo(BodyError):
    """The video is cut short or damaged."""

    code = "truncated_video"


class TooMuchVideo(BodyError):
    """Beyond ``TESSERA_MAX_FRAMES``, ``_SECONDS``, ``_VIDEO_PIXELS``, or ``TESSERA_MAX_PIXELS`` for a frame."""

    status = 413
    code = "too_much_video"


class NoClips(ParameterError):
    """The tokenizer takes pictures alone, or no clip of this length."""

    code = "no_clips"
