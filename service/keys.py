"""API keys: sent as ``Authorization: Bearer KEY``, compared in constant time against hashes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.errors import BadKey, NoKey
from service.state import service_of

bearer = HTTPBearer(auto_error=False, description="One of TESSERA_API_KEYS; not needed on an open server.")


def is_known(key: str, hashes: tuple[bytes, ...]) -> bool:
    """Whether the key's sha256 is one of ``hashes``; the time tells neither which nor how far it matched."""
    digest = hashlib.sha256(key.encode()).digest()
    found = False
    for known in hashes:
        found |= hmac.compare_digest(digest, known)
    return found


async def require_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> None:
    """Dependency of every /v1 route.

    Raises:
        NoKey, BadKey.
    """
    hashes = service_of(request).settings.key_hashes
    if not hashes:
        return
    if credentials is None:
        raise NoKey("this server asks for a key: send the header `Authorization: Bearer KEY`")
    if not is_known(credentials.credentials, hashes):
        raise BadKey("this key is not one of the server's: ask its operator for one")
