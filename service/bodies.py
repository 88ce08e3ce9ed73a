"""Request bodies: bounded in bytes and time, counted together; one file, several files, or a whole form."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BadForm, BodyTooLarge, EmptyBody, QueueFull, SlowBody
from service.inline import files_of_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 16
MAX_JSON_BYTES = 64 * 1024
FIELD = "file"


class Bodies:
    """Reads bodies while their sum stays within a limit.

    Args:
        max_body_bytes: of one request.
        max_total_bytes: of all requests in the house, from the first byte received to the answer.
        timeout_s: for one body to arrive.
    """

    def __init__(self, *, max_body_bytes: int, max_total_bytes: int, timeout_s: float) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout_s = timeout_s
        self._held = 0

    @property
    def held_bytes(self) -> int:
        """Bytes promised to requests in the house."""
        return self._held

    @asynccontextmanager
    async def read(self, request: Request, *, max_bytes: int | None = None) -> AsyncIterator[bytes]:
        """The file that was sent, raw or in a form; its bytes count until the block is left.

        Raises:
            BodyTooLarge, QueueFull, SlowBody, EmptyBody, BadForm.
        """
        async with self._received(request, max_bytes) as body:
            content_type = request.headers.get("content-type", "")
            if content_type.strip().lower().startswith("multipart/"):
                body = await asyncio.to_thread(file_of_form, body, content_type)
            if not body:
                raise EmptyBody("the body is empty: send the file itself, or a form with the field `file`")
            yield body

    @asynccontextmanager
    async def read_files(
        self, request: Request, *, max_files: int, field: str = "image"
    ) -> AsyncIterator[list[bytes]]:
        """The files that were sent: the raw body, every ``file`` of a form, or base64 in JSON under ``field``.

        Raises:
            BodyTooLarge, QueueFull, SlowBody, EmptyBody, BadForm.
        """
        async with self._received(request, None) as body:
            content_type = request.headers.get("content-type", "").strip().lower()
            if not body:
                raise EmptyBody("the body is empty: send the file itself, or a form with the field `file`")
            if content_type.startswith("multipart/"):
                whole = request.headers["content-type"]
                files = await asyncio.to_thread(files_of_form, body, whole, max_files)
            elif content_type.split(";")[0] == "application/json":
                limits = {"max_files": max_files, "max_bytes": self._max_body_bytes}
                files = await asyncio.to_thread(files_of_json, body, field, **limits)
            else:
                files = [body]
            yield files

    @asynccontextmanager
    async def read_form(
        self, request: Request, *, max_parts: int = MAX_PARTS
    ) -> AsyncIterator[dict[str, list[bytes]]]:
        """The fields of a multipart form by name, each as often as it was sent; as ``read`` otherwise.

        Raises:
            BodyTooLarge, QueueFull, SlowBody, BadForm.
        """
        async with self._received(request, None) as body:
            content_type = request.headers.get("content-type", "")
            yield await asyncio.to_thread(fields_of_form, body, content_type, max_parts)

    @asynccontextmanager
    async def _received(self, request: Request, max_bytes: int | None) -> AsyncIterator[bytes]:
        limit = min(self._max_body_bytes, max_bytes or self._max_body_bytes)
        length = _declared(request, limit)
        if self._held and self._held + length > self._max_total_bytes:
            raise QueueFull(
                "too many bodies are being received at once: ask again in 1 s", details={"retry_after_s": 1}
            )
        self._held += length
        try:
            try:
                async with asyncio.timeout(self._timeout_s):
                    body = await _receive(request, limit)
            except TimeoutError:
                raise SlowBody(
                    f"the body did not arrive within {self._timeout_s:g} s: send it faster, or a smaller one"
                ) from None
            yield body
        finally:
            self._held -= length


def file_of_form(body: bytes, content_type: str) -> bytes:
    """The content of the field ``file`` of a multipart body.

    Raises:
        BadForm: the form is damaged or has no such field.
    """
    fields = fields_of_form(body, content_type)
    if FIELD not in fields:
        names = ", ".join(repr(name[:32]) for name in fields) or "none"
        raise BadForm(
            f"the form has no field `file` (it has {names}): curl -F file=@picture.jpg", param=FIELD
        )
    return fields[FIELD][-1]


def files_of_form(body: bytes, content_type: str, max_files: int) -> list[bytes]:
    """The contents of every field ``file`` of a multipart body, in order.

    Raises:
        BadForm: the form is damaged, or has no such field, or too many.
    """
    fields = fields_of_form(body, content_type, max(MAX_PARTS, max_files))
    files = fields.get(FIELD, [])
    if not 1 <= len(files) <= max_files:
        names = ", ".join(repr(name[:32]) for name in fields) or "none"
        raise BadForm(
            f"the form has {len(files)} fields `file` (it has {names}): send 1 to {max_files}, "
            "curl -F file=@a.jpg -F file=@b.jpg",
            param=FIELD,
        )
    return files


def fields_of_form(body: bytes, content_type: str, max_parts: int = MAX_PARTS) -> dict[str, list[bytes]]:
    """The contents of a multipart body by the name of the field, in order.

    Raises:
        BadForm: the form is damaged, cut short, or has more than ``max_parts`` parts.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadForm(
            "a form must be multipart/form-data with a boundary: curl -F file=@picture.jpg makes one"
        )
    form = _Form(max_parts)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise BadForm(f"the form cannot be read ({error}): curl -F file=@picture.jpg makes one") from None
    if not form.complete:
        raise BadForm("the form is cut short: send it whole")
    fields: dict[str, list[bytes]] = {}
    for name, content in form.parts:
        fields.setdefault(name, []).append(bytes(content))
    return fields


class _Form:
    """Collects the parts of a form; data is (bytes, start, end) as python-multipart calls back."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[tuple[str, bytearray]] = []
        self.complete = False
        self._max_parts = max_parts
        self._count = 0
        self._field = bytearray()
        self._value = bytearray()
        self._name = ""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": lambda data, start, end: self.parts[-1][1].extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max_parts:
            raise BadForm(f"the form has more than {self._max_parts} parts: send fewer fields")
        self._name = ""

    def _header(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._field.clear()
        self._value.clear()

    def _headers(self) -> None:
        self.parts.append((self._name, bytearray()))

    def _end(self) -> None:
        self.complete = True


def _declared(request: Request, limit: int) -> int:
    """Bytes to reserve: what the client declares, or the limit if it does not."""
    text = request.headers.get("content-length")
    if text is None:
        return limit
    length = int(text) if text.isascii() and text.isdecimal() else limit + 1
    if length > limit:
        raise _too_large(limit)
    return length


async def _receive(request: Request, limit: int) -> bytes:
    chunks, received = [], 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    request.state.body = body = b"".join(chunks)  # as it came, for a request that becomes a job
    return body


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is larger than the {limit} bytes that are accepted here: send a smaller file",
        details={"max_body_bytes": limit},
    )
