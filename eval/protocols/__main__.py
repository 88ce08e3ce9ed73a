"""``python -m eval.protocols [NAME] [RESOLUTION]``: the protocols there are, or the card of one with its hash."""

import inspect
import sys
from collections.abc import Sequence

from eval.protocols import PROTOCOLS, protocol
from tokenizer.core.config import refusals


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with refusals("eval.protocols"):
        if arguments[:1] and arguments[0] not in ("--help", "-h"):
            sys.stdout.write(card(arguments[0], int(arguments[1]) if arguments[1:] else 256))
        else:
            sys.stdout.write("".join(f"{name:20s} {first_line(name)}\n" for name in PROTOCOLS))


def first_line(name: str) -> str:
    """What a protocol is, in one line."""
    return (inspect.getdoc(PROTOCOLS[name]) or "").splitlines()[0]


def card(name: str, resolution: int) -> str:
    """Name, hash, what is unusual about it, and every setting."""
    made = protocol(name, resolution)
    about = inspect.getdoc(PROTOCOLS[name]) or ""
    settings = "\n".join(f"  {key} = {value}" for key, value in made.lines())
    return f"{name} {made.hash} at {resolution}\n\n{about}\n\n{settings}\n"


if __name__ == "__main__":
    main()
