"""Typed configuration: frozen, closed to unknown keys, presets in YAML, dotted overrides.

One grammar for every job: ``python -m JOB [PRESET] dotted.key=value ...``. A preset is a name in the job's
``configs/`` folder or a path; it may begin with ``extends: NAME``, another preset in its folder. The only flags
are ``--help`` (the schema) and ``--print`` (the resolved values).
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def load(cls, path: Path | None, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file (none: start from the defaults) and apply ``a.b=value`` overrides.

        Raises:
            ValueError: naming the dotted path of every wrong value, and the choices where there are some.
        """
        tree = _read(path) if path is not None else {}
        for item in overrides:
            _override(tree, item)
        return cls.parse(tree)

    @classmethod
    def parse(cls, tree: object) -> Self:
        """Validate plain data (as read from YAML or JSON); errors name the dotted path."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ValueError(explain(error, cls)) from None

    def to_json(self) -> str:
        """Canonical JSON: the same configuration always gives the same text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def explain(error: ValidationError, schema: type[Config]) -> str:
    """One line a mistake: ``bottleneck.kl.weight: Input should be a valid number (got 'x')``."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "(top level)"
        if item["type"] == "extra_forbidden":
            lines.append(
                f"{where}: unknown key; it can be one of {', '.join(_keys_beside(item['loc'], schema))}"
            )
            continue
        value = "" if item["type"] == "missing" else f" (got {item['input']!r})"
        lines.append(f"{where}: {item['msg']}{value}")
    return "\n".join(lines)


def _keys_beside(loc: tuple[int | str, ...], schema: type[Config]) -> list[str]:
    """The keys that the configuration at ``loc`` knows; a kind in ``loc`` picks a member of its union."""
    candidates = [schema]
    for part in loc[:-1]:
        fields = [kind.model_fields[part] for kind in candidates if part in kind.model_fields]
        if fields:
            candidates = [config for field in fields for config in _configs_in(field.annotation)]
        elif isinstance(part, str):
            candidates = [
                kind
                for kind in candidates
                if "kind" in kind.model_fields and kind.model_fields["kind"].default == part
            ]
    return sorted({name for kind in candidates for name in kind.model_fields})


def from_cli(schema: type[C], job: str, presets: Path | None = None, argv: Sequence[str] | None = None) -> C:
    """Build ``schema`` from the command line; explains itself and exits on ``--help`` or a mistake.

    Args:
        schema: the configuration of the job.
        job: how the user starts it, for example ``tokenizer.train``.
        presets: folder of the named presets, for jobs that have some.
        argv: arguments without the program's name; by default those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(describe(schema, job, presets))
        raise SystemExit(0)
    show = "--print" in arguments
    arguments = [item for item in arguments if item != "--print"]
    try:
        preset = find_preset(arguments.pop(0), presets) if arguments and "=" not in arguments[0] else None
        _refuse_repeats(arguments)
        config = schema.load(preset, arguments)
    except ValueError as error:
        sys.stderr.write(f"{job}: {error}\n")
        raise SystemExit(2) from None
    if show:
        sys.stdout.write(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        raise SystemExit(0)
    return config


def _refuse_repeats(arguments: Sequence[str]) -> None:
    """A shell turns ``path=a-{0..9}`` into ten arguments, of which only the last would count."""
    seen: dict[str, str] = {}
    for item in arguments:
        key = item.partition("=")[0]
        if key in seen:
            raise ValueError(
                f"{key} is given twice, {seen[key]!r} and {item!r}: give it once, and quote what has braces"
            )
        seen[key] = item


@contextlib.contextmanager
def refusals(job: str, *more: type[Exception]) -> Iterator[None]:
    """Around the work of a job: what cannot be done as asked (or is one of ``more``) is one line and exit status 2."""
    refused: tuple[type[Exception], ...] = (ValueError, OSError, *more)
    try:
        yield
    except refused as error:
        sys.stderr.write(f"{job}: {error}\n")
        raise SystemExit(2) from None


def find_preset(name: str, presets: Path | None) -> Path:
    """The file of a preset given by name or by path.

    Raises:
        ValueError: listing the presets there are.
    """
    named = [presets / f"{name}.yaml"] if presets is not None else []
    for candidate in (*named, Path(name)):
        if candidate.is_file():
            return candidate
    known = ", ".join(_names(presets)) or "none"
    raise ValueError(f"no preset {name!r}: give a path to a YAML file or one of: {known}")


def describe(schema: type[Config], job: str, presets: Path | None) -> str:
    """The help text of a job: its presets and every field with type and default."""
    lines = [
        f"python -m {job} [PRESET] [dotted.key=value ...] [--print]",
        "",
        (schema.__doc__ or "").strip(),
        "",
    ]
    names = _names(presets)
    if names:
        lines += ["presets: " + ", ".join(names), ""]
    lines += _fields(schema, "")
    return "\n".join(lines) + "\n"


def _names(presets: Path | None) -> list[str]:
    return [] if presets is None else sorted(path.stem for path in presets.glob("*.yaml"))


def _fields(schema: type[Config], prefix: str) -> list[str]:
    lines = []
    for name, field in schema.model_fields.items():
        if name == "kind":
            continue  # the line above says it
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        shown = type(default).__name__ if isinstance(default, Config) else repr(default)
        text = f"  {prefix}{name} = {shown}" if not field.is_required() else f"  {prefix}{name} (required)"
        lines.append(f"{text}    {field.description}" if field.description else text)
        for kind in _configs_in(field.annotation):
            label = kind.model_fields["kind"].default if "kind" in kind.model_fields else None
            if label is not None:
                first = (kind.__doc__ or "").strip().splitlines()[:1]
                lines.append(f"  {prefix}{name}: kind {label}    {first[0] if first else ''}")
            lines += _fields(kind, f"{prefix}{name}{'[]' if 'tuple' in str(field.annotation) else ''}.")
    return lines


def _configs_in(annotation: Any) -> list[type[Config]]:  # a type expression has no narrower type
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [config for inner in get_args(annotation) for config in _configs_in(inner)]


def _read(
    path: Path, below: tuple[Path, ...] = ()
) -> dict[str, Any]:  # YAML: validated by the schema right after
    tree = yaml.safe_load(path.read_text())
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: a preset is a mapping of keys to values")
    if "extends" not in tree:
        return tree
    base = path.parent / f"{tree.pop('extends')}.yaml"
    if base in (path, *below):
        raise ValueError(f"{path}: extends goes round in a circle through {base.name}")
    if not base.is_file():
        raise ValueError(
            f"{path}: extends {base.stem!r}, but {base.parent} has only: {', '.join(_names(base.parent))}"
        )
    return _merge(_read(base, (path, *below)), tree)


def _merge(base: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:  # YAML, as above
    """``tree`` over ``base``: mappings key by key, anything else replaced; another ``kind`` replaces its mapping."""
    merged = dict(base)
    for key, value in tree.items():
        before = base.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            other_kind = "kind" in value and value["kind"] != before.get("kind")
            merged[key] = value if other_kind else _merge(before, value)
        else:
            merged[key] = value
    return merged


def _override(tree: dict[str, Any], item: str) -> None:
    """Set ``a.b.0.c=value`` in place; a number walks into a list."""
    dotted, found, raw = item.partition("=")
    if not found:
        raise ValueError(f"{item!r}: overrides are written dotted.key=value")
    *parents, leaf = dotted.split(".")
    node: Any = tree
    for key in parents:
        if isinstance(node, list):
            node = node[_position(key, node, item)]
        else:
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
        if not isinstance(node, dict | list):
            raise ValueError(f"{item!r}: {key!r} is a value and has no keys below it")
    value = yaml.safe_load(raw)
    if isinstance(node, list):
        node[_position(leaf, node, item)] = value
    else:
        node[leaf] = value


def _position(key: str, node: list[Any], item: str) -> int:
    if not key.isdecimal() or int(key) >= len(node):
        raise ValueError(f"{item!r}: {key!r} must be a position from 0 to {len(node) - 1}")
    return int(key)
