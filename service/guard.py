"""Who may come in: the dependency of every /v1 route.

In this order: the address's rate of requests, the key, draining, the key's rate of requests. Pixels are charged when a
job goes to the engine (``metering.py``).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase

from service.access import record_of
from service.errors import BadKey, NoKey
from service.jobs.replay import mark_of
from service.keys import Caller, key_of
from service.state import Service, service_of


class _Scheme(SecurityBase):
    """A way to send the key, for the OpenAPI document; ``require_key`` reads the header itself."""

    def __init__(self, scheme: str, description: str) -> None:
        self.model = HTTPBase(scheme=scheme, description=description)
        self.scheme_name = scheme

    async def __call__(self) -> None:
        """Nothing: these are two ways to one end, and each alone would refuse the other."""


bearer = _Scheme("bearer", "A key of the server; not needed on an open one.")
basic = _Scheme(
    "basic", "The key as password, for clients that take nothing but an address: `http://:KEY@host`."
)


async def require_key(
    request: Request, _: Annotated[None, Depends(bearer)], __: Annotated[None, Depends(basic)]
) -> None:
    """Dependency of every /v1 route; from here on the request has a caller.

    Raises:
        RateLimited, NoKey, BadKey, Draining.
    """
    service, record = service_of(request), record_of(request)
    if mark_of(request) is not None:  # a job's stored request: it was let in and has paid when it came
        return
    service.meter.charge_address(record, "requests", 1)
    record.caller = find_caller(service, request.headers.get("authorization"))
    service.drain.refuse_work(request.method)
    service.meter.charge_key(record, "requests", 1)


def find_caller(service: Service, authorization: str | None) -> Caller:
    """Who sends this header; on an open server someone without name and limits.

    Raises:
        NoKey, BadKey.
    """
    if not service.keys.required:
        return Caller()
    key = key_of(authorization)
    if key is None:
        raise NoKey("this server asks for a key: send the header `Authorization: Bearer KEY`")
    if service.jobs is not None and service.jobs.is_own(key):
        return Caller("jobs")
    caller = service.keys.find(key)
    if caller is None:
        raise BadKey("this key is not one of the server's: ask its operator for one")
    return caller


def caller_of(request: Request) -> Caller:
    """Who asks, as ``require_key`` found out."""
    return record_of(request).caller
