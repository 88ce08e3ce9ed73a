"""What a pipeline of the installed diffusers takes, read from its source text: neither it nor torch is imported.

The HTTP process must know of a pipeline what it is conditioned on and what its own settings are before any worker
has loaded it, and must not import torch to find out.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

CLASS = re.compile(r"^class (\w+)\b", re.MULTILINE)
REQUIRED = object()  # stands for the default of a parameter that has none


@cache
def signature_of(class_name: str) -> dict[str, Any]:  # defaults of another project's function
    """Parameters of a pipeline's ``__call__`` with their defaults; ``REQUIRED`` where there is none.

    A default that is no constant is None.

    Raises:
        ValueError: if the installed diffusers has no such pipeline.
    """
    found = _call_of(class_name, frozenset())
    if found is None:
        raise ValueError(f"the installed diffusers has no pipeline {class_name[:64]!r}")
    names = [argument.arg for argument in (*found.posonlyargs, *found.args)][1:]
    defaults: list[Any] = [REQUIRED] * (len(names) - len(found.defaults))
    defaults += [_constant(node) for node in found.defaults]
    parameters = dict(zip(names, defaults, strict=True))
    for argument, node in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        parameters[argument.arg] = REQUIRED if node is None else _constant(node)
    return parameters


def modules_with_components() -> frozenset[str]:
    """Libraries that the components of a pipeline may come from: diffusers, its pipelines, transformers."""
    return frozenset({"diffusers", "transformers"} | {path.parent.name for path in _files().values()})


def _call_of(class_name: str, seen: frozenset[str]) -> ast.arguments | None:
    """The arguments of ``__call__`` of a class or of the first of its bases that has one."""
    path = _files().get(class_name)
    if path is None or class_name in seen:
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef) or node.name != class_name:
            continue
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__call__":
                return item.args
        for base in node.bases:
            name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
            found = _call_of(name, seen | {class_name})
            if found is not None:
                return found
    return None


def _constant(node: ast.expr) -> Any:  # any constant of Python
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


@cache
def _files() -> dict[str, Path]:
    """Class name -> the file of diffusers' pipelines that defines it.

    Raises:
        ValueError: if diffusers is not installed.
    """
    package = importlib.util.find_spec("diffusers")
    if package is None or not package.submodule_search_locations:
        raise ValueError("diffusers is not installed: `pip install diffusers`")
    home = Path(package.submodule_search_locations[0]) / "pipelines"
    found: dict[str, Path] = {}
    for path in sorted(home.rglob("*.py")):
        for name in CLASS.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, path)
    return found
