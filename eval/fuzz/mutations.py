"""Harm done to bytes without knowing what they mean: flips, cuts, copies, extreme numbers."""

from collections.abc import Callable
from random import Random

Mutation = Callable[[bytearray, Random], None]

# Numbers that lengths, counts and offsets break on, in both byte orders where they have one.
EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**64 - 1,
)
TOKENS = (
    b"\0" * 8,
    b"\xff" * 8,
    b"[" * 40,
    b'{"a":' * 20,
    b"NaN",
    b"1e999",
    b"-1",
    b"\r\n--",
    b"../../",
    b"%n%s",
    b"null",
)
MAX_GROWTH = 4096


def flip_bits(data: bytearray, random: Random) -> None:
    """One to eight bits."""
    for _ in range(random.randint(1, 8)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def set_bytes(data: bytearray, random: Random) -> None:
    """One to eight bytes, anything."""
    for _ in range(random.randint(1, 8)):
        data[random.randrange(len(data))] = random.randrange(256)


def extreme(data: bytearray, random: Random) -> None:
    """A number at a random place is one that breaks things."""
    width = random.choice((1, 2, 4, 8))
    number = random.choice([value for value in EXTREMES if value < 256**width])
    at = random.randrange(len(data))
    data[at : at + width] = number.to_bytes(width, random.choice(("little", "big")))


def extreme_at_start(data: bytearray, random: Random) -> None:
    """The same in the first 64 bytes, where the headers are."""
    head = data[:64]
    extreme(head, random)
    data[:64] = head


def cut_end(data: bytearray, random: Random) -> None:
    """The file ends early."""
    del data[random.randrange(len(data)) :]


def cut_out(data: bytearray, random: Random) -> None:
    """A piece is missing."""
    at = random.randrange(len(data))
    del data[at : at + random.randint(1, 64)]


def repeat(data: bytearray, random: Random) -> None:
    """A piece comes twice or many times."""
    at = random.randrange(len(data))
    piece = bytes(data[at : at + random.randint(1, 64)])
    data[at:at] = (piece * random.choice((1, 2, 50)))[:MAX_GROWTH]


def insert(data: bytearray, random: Random) -> None:
    """Bytes that mean something somewhere."""
    at = random.randrange(len(data) + 1)
    data[at:at] = random.choice((random.choice(TOKENS), random.randbytes(random.randint(1, 32))))


def swap(data: bytearray, random: Random) -> None:
    """Two pieces change places."""
    width = random.randint(1, 32)
    first, second = sorted(random.randrange(len(data)) for _ in range(2))
    if first + width <= second and second + width <= len(data):
        data[first : first + width], data[second : second + width] = (
            data[second : second + width],
            data[first : first + width],
        )


def append(data: bytearray, random: Random) -> None:
    """More comes after the end."""
    data += random.randbytes(random.randint(1, 256))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    set_bytes,
    extreme,
    extreme_at_start,
    cut_end,
    cut_out,
    repeat,
    insert,
    swap,
    append,
)


def mutate(body: bytes, random: Random) -> tuple[bytes, list[str]]:
    """A body after one to four mutations, and their names."""
    data = bytearray(body)
    names = []
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        mutation = random.choice(MUTATIONS)
        mutation(data, random)
        names.append(mutation.__name__)
    return bytes(data), names
