"""Bodies: bounded alone and together, raw or as a form, and given back when the request ends."""

import asyncio
import random
from collections.abc import Iterable

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from service.bodies import Bodies, fields_of_form, file_of_form
from service.errors import BadForm, BodyTooLarge, EmptyBody, QueueFull, ServiceError, SlowBody

TYPE = 'multipart/form-data; boundary="b0"'


def request(chunks: Iterable[bytes | None], **headers: str) -> Request:
    """A request whose body comes in these chunks; None hangs, the end of the list ends it."""
    messages = iter([*chunks])

    async def receive() -> dict[str, object]:
        chunk = next(messages, b"")
        if chunk is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": chunk or b"", "more_body": bool(chunk)}

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": pairs}, receive)


def bodies(max_total_bytes: int = 250, timeout_s: float = 30.0) -> Bodies:
    return Bodies(max_body_bytes=100, max_total_bytes=max_total_bytes, timeout_s=timeout_s)


def read(asked: Request, reader: Bodies | None = None, max_bytes: int | None = None) -> bytes:
    async def course() -> bytes:
        async with (reader or bodies()).read(asked, max_bytes=max_bytes) as body:
            return body

    return asyncio.run(course())


def form(*parts: tuple[str, bytes], end: bytes = b"--b0--\r\n") -> bytes:
    head = 'Content-Disposition: form-data; name="{}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return b"".join(b"--b0\r\n" + head.format(name).encode() + data + b"\r\n" for name, data in parts) + end


def test_chunks_are_joined() -> None:
    assert read(request([b"ab", b"cd"], content_length="4")) == b"abcd"
    assert read(request([b"ab", b"cd"])) == b"abcd"


@pytest.mark.parametrize("length", ["101", "1" * 30, "-1", "x", "²"])
def test_a_declared_excess_is_refused_unread(length: str) -> None:
    with pytest.raises(BodyTooLarge, match="100 bytes"):
        read(request([None], content_length=length))


def test_an_undeclared_excess_is_refused_while_it_comes() -> None:
    with pytest.raises(BodyTooLarge):
        read(request([b"x" * 60, b"x" * 60, None]))


def test_a_route_may_take_less() -> None:
    with pytest.raises(BodyTooLarge, match="10 bytes"):
        read(request([b"x" * 11], content_length="11"), max_bytes=10)


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(EmptyBody):
        read(request([]))


def test_a_slow_body_is_refused() -> None:
    with pytest.raises(SlowBody):
        read(request([b"x", None]), bodies(timeout_s=0.02))


def test_bodies_count_together_and_are_given_back() -> None:
    reader = bodies(max_total_bytes=250)

    async def course() -> None:
        async with reader.read(request([b"x" * 100], content_length="100")):
            async with reader.read(request([b"x" * 100])):  # undeclared: the limit is reserved
                assert reader.held_bytes == 200
                with pytest.raises(QueueFull):
                    async with reader.read(request([b"x" * 60], content_length="60")):
                        pass
            assert reader.held_bytes == 100
        assert reader.held_bytes == 0

    asyncio.run(course())


@pytest.mark.parametrize("failure", [[], [b"x" * 101]])
def test_failures_give_their_bytes_back(failure: list[bytes]) -> None:
    reader = bodies()
    with pytest.raises(ServiceError):
        read(request(failure), reader)
    assert reader.held_bytes == 0


def test_a_client_that_goes_gives_its_bytes_back() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    reader = bodies()
    with pytest.raises(ClientDisconnect):
        read(Request({"type": "http", "method": "POST", "headers": []}, receive), reader)
    assert reader.held_bytes == 0


def test_the_file_of_a_form() -> None:
    data = bytes(range(256)) + b"\r\n--b"
    assert file_of_form(form(("note", b"hi"), ("file", data)), TYPE) == data
    assert (
        read(
            request([form(("file", b"!"))[:40], form(("file", b"!"))[40:]], content_type=TYPE),
            Bodies(max_body_bytes=1000, max_total_bytes=1000, timeout_s=30.0),
        )
        == b"!"
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(("picture", b"x")), TYPE),
        (form(), TYPE),
        (form(("file", b"x"), end=b""), TYPE),
        (form(("file", b"x")), "multipart/form-data"),
        (form(("file", b"x")), "multipart/mixed; boundary=b0"),
        (b"no form", TYPE),
        (form(*[(str(number), b"x") for number in range(20)]), TYPE),
    ],
)
def test_other_forms_are_explained(body: bytes, kind: str) -> None:
    with pytest.raises(BadForm):
        file_of_form(body, kind)


def test_the_fields_of_a_form_keep_their_order_and_number() -> None:
    body = form(("image[]", b"1"), ("prompt", b"hat"), ("image[]", b"2"))
    assert fields_of_form(body, TYPE) == {"image[]": [b"1", b"2"], "prompt": [b"hat"]}
    with pytest.raises(BadForm, match="more than 2 parts"):
        fields_of_form(body, TYPE, max_parts=2)

    async def course() -> None:
        reader = Bodies(max_body_bytes=1000, max_total_bytes=1000, timeout_s=30.0)
        async with reader.read_form(request([body], content_type=TYPE)) as fields:
            assert fields["prompt"] == [b"hat"]
            assert reader.held_bytes == 1000
        assert reader.held_bytes == 0

    asyncio.run(course())


def test_the_fields_there_are_named() -> None:
    with pytest.raises(BadForm, match="'picture'"):
        file_of_form(form(("picture", b"x")), TYPE)


def test_mutated_forms_give_only_our_errors() -> None:
    body = form(("note", b"hi"), ("file", b"data" * 10))
    chance = random.Random(5)
    for _ in range(2000):
        data = bytearray(body)
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(1, len(data)) :]
        try:
            assert isinstance(file_of_form(bytes(data), TYPE), bytes)
        except ServiceError as error:
            assert error.status == 400  # noqa: PT017  not every mutation is refused


def files(asked: Request, max_files: int = 2) -> list[bytes]:
    reader = Bodies(max_body_bytes=1000, max_total_bytes=1000, timeout_s=30.0)

    async def course() -> list[bytes]:
        async with reader.read_files(asked, max_files=max_files) as found:
            assert reader.held_bytes == 1000
            return found

    found = asyncio.run(course())
    assert reader.held_bytes == 0
    return found


def test_files_come_alone_in_a_form_or_in_json() -> None:
    assert files(request([b"raw"])) == [b"raw"]
    assert files(request([form(("file", b"1"), ("note", b"x"), ("file", b"2"))], content_type=TYPE)) == [
        b"1",
        b"2",
    ]
    one, two = b'{"image": "AAAA"}', b'{"images": ["AAAA", "data:image/png;base64,////"]}'
    for content_type in ("application/json", "application/json; charset=utf-8"):
        assert files(request([one], content_type=content_type)) == [bytes(3)]
        assert files(request([two], content_type=content_type)) == [bytes(3), b"\xff" * 3]


def test_too_many_files_are_refused() -> None:
    many = form(*[("file", b"x")] * 3)
    assert len(files(request([many], content_type=TYPE), max_files=3)) == 3
    for body in (many, form(("picture", b"x"))):
        with pytest.raises(BadForm, match="send 1 to 2"):
            files(request([body], content_type=TYPE))
    with pytest.raises(BadForm, match="1 to 2 files"):
        files(request([b'{"images": ["AAAA", "AAAA", "AAAA"]}'], content_type="application/json"))
    with pytest.raises(EmptyBody):
        files(request([]))
