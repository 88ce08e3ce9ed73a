"""API keys: known by their hash, sent as ``Bearer`` or as the password of ``Basic``, with limits of their own.

A key made here is 256 random bits, so its sha256 can neither be turned round nor guessed. A slow hash (scrypt,
argon2) protects short passwords that people choose; here it would only let a stranger who sends wrong keys burn the
server's time. The file holds hashes alone: who reads it cannot ask.

``python -m service.keys new NAME`` makes a key, prints it once and writes its hash to ``TESSERA_KEYS_FILE``.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from service.engine.messages import Priority
from service.errors import BadKey, InvalidParameter, NotAllowed
from tokenizer.core.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

KEY_BYTES = 32
CHECK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds a key; without keys, everyone.

    Attributes:
        name: of the key, for logs; empty on an open server.
        requests_per_minute, pixels_per_minute: 0 for any number.
        priority: the best that may be asked for.
        max_images: of one request; None for the server's own limit.
    """

    name: str = ""
    requests_per_minute: int = 0
    pixels_per_minute: int = 0
    priority: Priority = "interactive"
    max_images: int | None = None

    def allow_priority(self, asked: Priority | None) -> Priority:
        """What a request runs at: what it asks for, or the best that the key may.

        Raises:
            NotAllowed: it asks for more.
        """
        if asked == "interactive" and self.priority == "batch":
            raise NotAllowed("this key may ask for x-priority: batch only", param="x-priority")
        return asked or self.priority

    def allow_images(self, count: int) -> None:
        """InvalidParameter if the key may not ask for so many pictures at once."""
        if self.max_images is not None and count > self.max_images:
            raise InvalidParameter(
                f"{count} pictures, this key may ask for {self.max_images} in one request: ask for less",
                param="num_images",
            )


class KeyRecord(Config):
    """One key of the file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Whose it is; stands in the logs.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the key's bytes, hexadecimal.")
    created: datetime | None = None
    requests_per_minute: int | None = Field(
        None, ge=0, description="0 for any number; the setting's without it."
    )
    pixels_per_minute: int | None = Field(
        None, ge=0, description="0 for any number; the setting's without it."
    )
    priority: Priority = Field("interactive", description="The best that it may ask for.")
    max_images: int | None = Field(None, ge=1, description="Of one request; the server's without it.")


class KeysFile(Config):
    """The whole file."""

    keys: tuple[KeyRecord, ...] = ()

    @classmethod
    def read(cls, path: Path) -> KeysFile:
        """Read and check.

        Raises:
            ValueError: it is not there or not as it should be.
        """
        try:
            found = cls.parse(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ValueError(
                f"TESSERA_KEYS_FILE={path} cannot be read ({error.strerror}): python -m service.keys new NAME makes it"
            ) from None
        except ValueError as error:
            raise ValueError(f"TESSERA_KEYS_FILE={path}: {error}") from None
        names = [record.name for record in found.keys]
        if len(set(names)) != len(names):
            raise ValueError(f"TESSERA_KEYS_FILE={path}: a name stands twice")
        return found

    def write(self, path: Path) -> None:
        """Replace the file in one step, readable by its owner only; a server that reads it never sees half."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), indent=1) + "\n"
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


class Keys:
    """Finds who holds a key; reads its file again when that changes, so a removed key ends at once.

    Args:
        hashes: sha256 of the keys of ``TESSERA_API_KEYS``.
        path: of the keys file; None for none.
        requests_per_minute, pixels_per_minute: of keys that say nothing of their own.
        clock: seconds that never go back.

    Raises:
        ValueError: the file cannot be read.
    """

    def __init__(
        self,
        hashes: Sequence[bytes],
        path: Path | None,
        *,
        requests_per_minute: int = 0,
        pixels_per_minute: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = requests_per_minute, pixels_per_minute
        self._fixed = tuple(
            (digest, Caller(f"key-{index}", *self._rates)) for index, digest in enumerate(hashes, 1)
        )
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        self._seen = self._stamp()
        self._read = self._records() if path is not None else ()

    @property
    def required(self) -> bool:
        """Whether a request needs a key; a keys file closes the server even while it is empty."""
        return bool(self._fixed) or self._path is not None

    def find(self, key: bytes) -> Caller | None:
        """Who holds this key; the time tells neither which one it is nor how far it matched."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        found: Caller | None = None
        for known, caller in (*self._fixed, *self._read):
            if hmac.compare_digest(digest, known):
                found = caller  # no early end: every key is compared
        return found

    def _refresh(self) -> None:
        now = self._clock()
        if self._path is None or now - self._checked_at < CHECK_EVERY_S:
            return
        self._checked_at = now
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._read = self._records()
            logger.info("keys read again: %d", len(self._read))
        except ValueError as error:
            logger.error("the keys stay as they were: %s", error)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._path) if self._path is not None else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino) if status is not None else None

    def _records(self) -> tuple[tuple[bytes, Caller], ...]:
        assert self._path is not None
        requests, pixels = self._rates
        return tuple(
            (
                bytes.fromhex(record.sha256),
                Caller(
                    record.name,
                    requests if record.requests_per_minute is None else record.requests_per_minute,
                    pixels if record.pixels_per_minute is None else record.pixels_per_minute,
                    record.priority,
                    record.max_images,
                ),
            )
            for record in KeysFile.read(self._path).keys
        )


def key_of(authorization: str | None) -> bytes | None:
    """The key of an ``Authorization`` header; None where there is none.

    Raises:
        BadKey: neither ``Bearer KEY`` nor ``Basic`` with the key as password.

    Source: RFC 6750, section 2.1; RFC 7617, section 2.
    """
    if not authorization or not authorization.strip():
        return None
    scheme, _, rest = authorization.strip().partition(" ")
    sent = rest.strip().encode("latin-1", "replace")  # how the bytes of a header came to be a str
    if scheme.lower() == "bearer" and sent:
        return sent
    if scheme.lower() == "basic":
        try:
            _, found, password = base64.b64decode(sent, validate=True).partition(b":")
        except binascii.Error:
            found = b""
        if found and password:
            return password
    raise BadKey("send the header `Authorization: Bearer KEY`, or Basic with the key as password")


def new_key(name: str, **limits: object) -> tuple[str, KeyRecord]:
    """A fresh key and what the file holds of it."""
    key = f"tessera-{secrets.token_urlsafe(KEY_BYTES)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    created = datetime.now(UTC).replace(microsecond=0)
    return key, KeyRecord.parse({"name": name, "sha256": digest, "created": created, **limits})


def main(argv: Sequence[str] | None = None) -> int:
    """``new NAME``, ``list``, ``remove NAME``; the exit code."""
    arguments = _arguments().parse_args(argv)
    if arguments.file is None:
        sys.stderr.write("service.keys: say where the keys are: TESSERA_KEYS_FILE=path, or --file path\n")
        return 2
    path = Path(arguments.file)
    try:
        keys = KeysFile.read(path).keys if path.exists() or arguments.command != "new" else ()
        if arguments.command == "list":
            for record in keys:
                sys.stdout.write(record.model_dump_json(exclude_none=True, exclude={"sha256"}) + "\n")
            return 0
        known = arguments.name in [record.name for record in keys]
        if arguments.command == "remove":
            if not known:
                raise ValueError(f"no key {arguments.name!r} in {path}: `list` shows those there are")
            KeysFile(keys=tuple(record for record in keys if record.name != arguments.name)).write(path)
            return 0
        if known:
            raise ValueError(f"{path} has a key {arguments.name!r}: remove it first, or take another name")
        limits = ("requests_per_minute", "pixels_per_minute", "priority", "max_images")
        given = {name: getattr(arguments, name) for name in limits if getattr(arguments, name) is not None}
        key, record = new_key(arguments.name, **given)
        KeysFile(keys=(*keys, record)).write(path)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"service.keys: {error}\n")
        return 2
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(f"Shown this once; {path} holds its hash.\n")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service.keys", description="Make and remove API keys.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--file", default=os.environ.get("TESSERA_KEYS_FILE") or None, help="TESSERA_KEYS_FILE without it"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", parents=[shared], help="make a key, print it once, keep its hash")
    new.add_argument("name")
    new.add_argument("--requests-per-minute", type=int)
    new.add_argument("--pixels-per-minute", type=int)
    new.add_argument("--priority", choices=("interactive", "batch"))
    new.add_argument("--max-images", type=int)
    commands.add_parser("list", parents=[shared], help="one JSON line a key, without the hash")
    commands.add_parser("remove", parents=[shared], help="forget a key").add_argument("name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
