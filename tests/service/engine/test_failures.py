"""What callers are told about failures, and what they are not."""

import logging
import os

import pytest
import torch

from service.engine.failures import end_if_broken, free_memory, is_memory, to_service_error, without_frames
from service.errors import InternalError, NotAnImage, OutOfMemory


def test_memory_is_a_refusal_and_defects_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(to_service_error(torch.OutOfMemoryError("CUDA out of memory"), "x"), OutOfMemory)
    short = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    assert isinstance(to_service_error(short, "x"), OutOfMemory)
    with caplog.at_level(logging.ERROR):
        error = to_service_error(KeyError("/secret/path"), "x")
    assert isinstance(error, InternalError)
    assert "secret" not in error.message
    assert str(error.details["incident"]) in caplog.text


def test_what_is_meant_for_callers_passes() -> None:
    error = NotAnImage("send a picture")
    assert to_service_error(error, "x") is error


def test_only_memory_may_be_tried_again() -> None:
    assert is_memory(MemoryError())
    assert not is_memory(RuntimeError("shapes do not fit"))
    free_memory()


def test_an_error_lets_go_of_what_its_frames_held() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError:
            raise RuntimeError("outer")  # noqa: B904  the context is what is tested
    except RuntimeError as caught:
        error = without_frames(caught)
    assert error.__traceback__ is None
    assert error.__context__ is None


def test_a_broken_device_ends_the_process_and_short_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    end_if_broken(torch.OutOfMemoryError("CUDA error: out of memory"))
    end_if_broken(ValueError("wrong"))
    assert ends == []
    end_if_broken(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert ends == [70]
