"""What the server gives to jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp

    from service.registry import Registry


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything outside a job's own row and folder.

    Attributes:
        app: the application, which replayed requests go through.
        registry: the models.
        data: folders of pictures by name.
        url: where this server is reached from this machine.
        key: lets the server's own jobs in, whatever keys it asks others for.
        has_keys: whether the server asks for keys.
        is_ready: whether the models can be used.
        is_ending: whether the server is on its way out.
    """

    app: ASGIApp
    registry: Registry
    data: Mapping[str, Path]
    url: Callable[[], str]
    key: str
    has_keys: bool
    is_ready: Callable[[], bool]
    is_ending: Callable[[], bool]
