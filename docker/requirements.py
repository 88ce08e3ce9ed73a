"""Print what pyproject.toml asks for, with the extras named: ``python requirements.py pyproject.toml serve``.

The images install these before they copy the sources: a changed source file does not install PyTorch again.
"""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path


def requirements(pyproject: Path, extras: Iterable[str] = ()) -> list[str]:
    """The project's dependencies and those of ``extras``, as written.

    Raises:
        ValueError: listing the extras there are.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    found = list(project["dependencies"])
    for extra in extras:
        if extra not in optional:
            raise ValueError(f"no extra {extra!r}: there are {', '.join(optional)}")
        found += optional[extra]
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])) + "\n")
