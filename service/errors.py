"""Every failure the service can answer, with its status. Each sentence says what to do.

ServiceError
├── BodyError: the bytes sent
│   ├── EmptyBody 400 · BodyTooLarge 413 · BadForm 400 · SlowBody 408
│   ├── NotAnImage 415 · TruncatedImage 400 · TooManyPixels 413 · NoVideo 415 · TruncatedVideo 400 · TooMuchVideo 413
│   ├── NotATensor 400 · WrongDtype 422 · WrongShape 422 · WrongSpec 422 · MissingMetadata 422
│   └── NotFinite 422 · IndexOutOfRange 422
├── ParameterError: what was asked
│   ├── InvalidParameter 422 · UnknownModel 404 · UnknownLabel 422 · WrongSize 422 · NoIndices 422 · NoClips 422
│   ├── ModelRefused 403 · ModelExists 409 · ModelInUse 409
│   ├── RouteNotFound 404 · MethodNotAllowed 405 · UnknownRequest 404
│   └── JobsOff 404 · UnknownJob 404 · UnknownDataSet 404 · NoReport 404 · JobNotFinished 409 · NoResult 409
│       · IdempotencyConflict 422 · BadRange 416 (service/jobs/errors.py); of videos service/video_errors.py
├── KeyRefused: NoKey 401 · BadKey 401 · NotAllowed 403
├── RequestCancelled 410
├── Unavailable: ask again later
│   ├── ModelLoading 503 · NoModelMemory 503 · ModelFailed 503 · ModelChanged 503
│   └── QueueFull 429 · RateLimited 429 · NotReady 503 · Draining 503 · WorkerSilent 503 · WorkerDied 503 · TimedOut 504
└── Failed: OutOfMemory 507 · InternalError 500

The one JSON shape is ``{"error": {"code", "message", "param", ...}}``. Errors are plain data, so they cross
from the worker process unharmed. This file imports nothing but the standard library.
"""
# ruff: noqa: N818  every name here says what is wrong; Error behind each would say nothing

from __future__ import annotations

import math
from typing import ClassVar


class ServiceError(Exception):
    """A failure with a status; ``message`` is the sentence the caller reads.

    Args:
        message: what is wrong and what to do about it.
        param: the parameter, header or metadata key at fault.
        details: further facts by name, JSON values; they stand beside ``code`` in the answer.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, param: str | None = None, details: dict[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.details = details or {}

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.param, self.details))

    def to_json(self) -> dict[str, object]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message, "param": self.param, **self.details}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers the answer must carry."""
        return {}


def _rebuild(
    kind: type[ServiceError], message: str, param: str | None, details: dict[str, object]
) -> ServiceError:
    return kind(message, param=param, details=details)


class BodyError(ServiceError):
    """The bytes that were sent cannot be used."""

    status = 400
    code = "bad_body"


class EmptyBody(BodyError):
    """Nothing was sent."""

    code = "empty_body"


class BodyTooLarge(BodyError):
    """More bytes than ``TESSERA_MAX_BODY_BYTES``."""

    status = 413
    code = "body_too_large"


class BadForm(BodyError):
    """A form, or a body of JSON, that cannot be read or lacks its field."""

    code = "bad_form"


class SlowBody(BodyError):
    """The body did not arrive within ``TESSERA_BODY_TIMEOUT_S``."""

    status = 408
    code = "slow_body"


class NotAnImage(BodyError):
    """Not a picture of an accepted format."""

    status = 415
    code = "not_an_image"


class TruncatedImage(BodyError):
    """A picture that is cut short or damaged."""

    code = "truncated_image"


class TooManyPixels(BodyError):
    """A picture larger than ``TESSERA_MAX_PIXELS``; known before a pixel is decoded."""

    status = 413
    code = "too_many_pixels"


class NotATensor(BodyError):
    """Neither safetensors nor npy nor as raw as it says, or damaged."""

    code = "not_a_tensor"


class WrongDtype(BodyError):
    """A tensor of a type that is not taken, or indices that are no integers."""

    status = 422
    code = "wrong_dtype"


class WrongShape(BodyError):
    """A latent whose shape does not belong to its size."""

    status = 422
    code = "wrong_shape"


class WrongSpec(BodyError):
    """A latent of another tokenizer."""

    status = 422
    code = "wrong_spec"


class MissingMetadata(BodyError):
    """A latent that does not say its size or its spec."""

    status = 422
    code = "missing_metadata"


class NotFinite(BodyError):
    """A latent with NaN, infinity or values far outside any latent's range."""

    status = 422
    code = "not_finite"


class IndexOutOfRange(BodyError):
    """Indices that name codes which the tokenizer does not have."""

    status = 422
    code = "index_out_of_range"


class ParameterError(ServiceError):
    """What was asked for does not exist or is out of range."""

    status = 422
    code = "bad_parameter"


class InvalidParameter(ParameterError):
    """A parameter that is missing, unknown or out of range."""

    code = "invalid_parameter"


class UnknownModel(ParameterError):
    """No such model in the registry."""

    status = 404
    code = "unknown_model"


class UnknownLabel(ParameterError):
    """The generator has no such class."""

    code = "unknown_label"


class WrongSize(ParameterError):
    """The generator cannot make this size; ``sizes`` lists those it can."""

    code = "wrong_size"


class NoIndices(ParameterError):
    """Indices of a tokenizer whose latent is continuous."""

    code = "no_indices"


class ModelRefused(ParameterError):
    """A model that this server may not load."""

    status = 403
    code = "model_refused"


class ModelExists(ParameterError):
    """Another model has that name."""

    status = 409
    code = "model_exists"


class ModelInUse(ParameterError):
    """The model works for a request or for another model, and is not unloaded."""

    status = 409
    code = "model_in_use"


class RouteNotFound(ParameterError):
    """No such address."""

    status = 404
    code = "not_found"


class MethodNotAllowed(ParameterError):
    """The address exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class UnknownRequest(ParameterError):
    """No request of this id waits or runs."""

    status = 404
    code = "unknown_request"


class RequestCancelled(ServiceError):
    """``DELETE /v1/requests/{id}`` ended the request before it was answered."""

    status = 410
    code = "cancelled"


class KeyRefused(ServiceError):
    """The caller may not use this server."""

    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """Tells clients how to send the key."""
        return {"www-authenticate": "Bearer"}


class NoKey(KeyRefused):
    """The server has keys and the request carries none."""

    code = "no_key"


class BadKey(KeyRefused):
    """The key is not one of the server's."""

    code = "bad_key"


class NotAllowed(KeyRefused):
    """The key is good, but not for this."""

    status = 403
    code = "not_allowed"

    @property
    def headers(self) -> dict[str, str]:
        """None: another key may do it, asking again with this one will not."""
        return {}


class Unavailable(ServiceError):
    """Nothing is wrong with the request; ask again.

    ``details["retry_after_s"]``, where given, becomes the ``Retry-After`` header.
    """

    status = 503
    code = "unavailable"

    @property
    def headers(self) -> dict[str, str]:
        """``Retry-After`` in whole seconds, and in milliseconds for clients that read that."""
        seconds = self.details.get("retry_after_s")
        if not isinstance(seconds, int | float):
            return {}
        return {
            "retry-after": str(max(1, math.ceil(seconds))),
            "retry-after-ms": str(max(1, round(seconds * 1000))),
        }


class QueueFull(Unavailable):
    """The work that waits has reached the limit."""

    status = 429
    code = "queue_full"


class RateLimited(Unavailable):
    """More requests or pixels a minute than this key or address may ask for."""

    status = 429
    code = "rate_limited"


class NotReady(Unavailable):
    """The models are still loading."""

    code = "not_ready"


class Draining(Unavailable):
    """The server is shutting down: it finishes what it has and takes no new work."""

    code = "draining"


class WorkerSilent(Unavailable):
    """The worker process has shown no sign of life for ``TESSERA_HEARTBEAT_TIMEOUT_S``."""

    code = "worker_silent"


class WorkerDied(Unavailable):
    """The worker process ended while it had this request."""

    code = "worker_died"


class ModelLoading(Unavailable):
    """The model is not loaded yet."""

    code = "model_loading"


class NoModelMemory(Unavailable):
    """The models in use leave no room for this one within ``TESSERA_MODEL_MEMORY_BYTES``."""

    code = "no_model_memory"


class ModelFailed(Unavailable):
    """The model could not be loaded; the message says why."""

    code = "model_failed"


class ModelChanged(Unavailable):
    """The model's folder holds other weights than when it was read."""

    code = "model_changed"


class TimedOut(Unavailable):
    """The answer was not there within ``x-timeout-ms`` or ``TESSERA_REQUEST_TIMEOUT_S``."""

    status = 504
    code = "timed_out"


class Failed(ServiceError):
    """The request was fine and the server failed."""


class OutOfMemory(Failed):
    """The device has not enough memory for this one request."""

    status = 507
    code = "out_of_memory"


class InternalError(Failed):
    """A defect of the server; the log has the trace under the same ``incident``."""
