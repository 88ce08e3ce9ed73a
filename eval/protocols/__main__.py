"""``python -m eval.protocols [NAME] [RESOLUTION]``: the protocols there are, or the card of one with its hash."""

import inspect
import sys
from collections.abc import Sequence

from eval.protocols import PROTOCOLS, protocol
from eval.protocols.video import VIDEO_PROTOCOLS, video_protocol
from tokenizer.core.config import refusals


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with refusals("eval.protocols"):
        if arguments[:1] and arguments[0] not in ("--help", "-h"):
            sys.stdout.write(card(arguments[0], int(arguments[1]) if arguments[1:] else None))
        else:
            sys.stdout.write(
                "".join(f"{name:20s} {first_line(name)}\n" for name in (*PROTOCOLS, *VIDEO_PROTOCOLS))
            )


def first_line(name: str) -> str:
    """What a protocol is, in one line."""
    return _about(name).splitlines()[0]


def card(name: str, resolution: int | None = None) -> str:
    """Name, hash, what is unusual about it, and every setting; pictures at 256 without a resolution."""
    is_video = name in VIDEO_PROTOCOLS
    made = video_protocol(name, resolution) if is_video else protocol(name, resolution or 256)
    settings = "\n".join(f"  {key} = {value}" for key, value in made.lines())
    size = made.resolution or "the size of the frames"
    return f"{name} {made.hash} at {size}\n\n{_about(name)}\n\n{settings}\n"


def _about(name: str) -> str:
    return inspect.getdoc(VIDEO_PROTOCOLS[name] if name in VIDEO_PROTOCOLS else PROTOCOLS[name]) or ""


if __name__ == "__main__":
    main()
