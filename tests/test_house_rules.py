"""The house rules, held by reading the sources.

Each rule is a function from a source file to its findings. A finding is excused by one line with a reason in
``house_exceptions.toml``, in the table named like the rule; a line that excuses nothing fails too.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "tokenizer": set[str](),
    "diffusion": {"tokenizer"},
    "eval": {"tokenizer", "diffusion"},
    "service": {"tokenizer", "diffusion"},
}
# Folders that hold parts of one kind, and the leaf through which parts share; they never import each other.
PARTS = {
    "tokenizer.backbones": {"base"},
    "tokenizer.bottlenecks": {"base"},
    "tokenizer.losses": {"base", "augment", "discriminators"},
    "tokenizer.regularizers": {"base"},
    "tokenizer.adapters": {"base"},
    "diffusion.backbones": {"base"},
    "diffusion.generators": {"base"},
    "eval.metrics": {"score", "sets"},
}
KNOW_ALL_PARTS = {"tokenizer.losses.objective"}  # like the __init__ files: it sums them
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
VAGUE_NAMES = {"utils", "util", "misc", "common", "helpers", "helper", "types_"}


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, its text and its syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, path: Path, root: Path = ROOT) -> "Source":
        text = path.read_text(encoding="utf-8")
        return cls(path.relative_to(root), text, ast.parse(text))

    @property
    def module(self) -> str:
        """The dotted name, for example ``tokenizer.core.config``; a package stands for its ``__init__``."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


Finding = tuple[str, str]  # what house_exceptions.toml would name, and what is wrong
Rule = Callable[[Source], Iterator[Finding]]


def imports(source: Source) -> Iterator[str]:
    """Every module imported, absolute; ``from a import b`` gives ``a.b``, which may be a module or a name."""
    package = source.module.split(".")
    if source.path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def directions(source: Source) -> Iterator[Finding]:
    """service, eval -> diffusion -> tokenizer -> tokenizer/core; tokenizer/layers knows no part."""
    package = source.path.parts[0]
    for name in imports(source):
        target = name.split(".")[0]
        wrong = target in MAY_IMPORT and target not in MAY_IMPORT[package] | {package}
        if source.module.startswith("tokenizer.core"):
            wrong = target in MAY_IMPORT and not f"{name}.".startswith("tokenizer.core.")
        if source.module.startswith("tokenizer.layers"):
            wrong |= any(f"{name}.".startswith(f"{parts}.") for parts in PARTS)
        if wrong:
            yield (
                f"{source.path} -> {name}",
                "imports go service, eval -> diffusion -> tokenizer -> tokenizer/core",
            )


def siblings(source: Source) -> Iterator[Finding]:
    """Parts of one kind share through a leaf or ``layers``; only the ``__init__`` knows them all."""
    for folder, leaves in PARTS.items():
        if not source.module.startswith(f"{folder}.") or source.module in KNOW_ALL_PARTS:
            continue
        own = source.module.removeprefix(f"{folder}.").split(".")[0]
        for name in imports(source):
            if f"{name}.".startswith(f"{folder}."):
                other = name.removeprefix(folder).removeprefix(".").split(".")[0]
                if other not in leaves | {own}:
                    yield f"{source.path} -> {name}", "parts of one kind do not import each other"


def file_sizes(source: Source) -> Iterator[Finding]:
    """A file has at most 400 lines."""
    if (lines := source.text.count("\n")) > MAX_FILE_LINES:
        yield str(source.path), f"{lines} lines, at most {MAX_FILE_LINES}: make it a folder of the same name"


def function_sizes(source: Source) -> Iterator[Finding]:
    """A function has at most 60 lines, its docstring not counted."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{source.path}::{node.name}", f"{lines} lines, at most {MAX_FUNCTION_LINES}"


def docstrings(source: Source) -> Iterator[Finding]:
    """A module says in its first sentence what it holds."""
    if not ast.get_docstring(source.tree):
        yield str(source.path), "a module starts with one sentence on what it holds"


def names(source: Source) -> Iterator[Finding]:
    """A file is named by its idea, and shadows no module of the standard library."""
    if (
        source.path.stem in sys.stdlib_module_names - {"__init__", "__main__"}
        or source.path.stem in VAGUE_NAMES
    ):
        yield str(source.path), "name the file by its idea; not utils, nor a name of the standard library"


def mirrored(source: Source) -> Iterator[Finding]:
    """tests/ mirrors the tree."""
    if source.path.stem not in {"__init__", "__main__"}:
        mirror = Path("tests", source.path.parent, f"test_{source.path.name}")
        if not (ROOT / mirror).exists():
            yield str(source.path), f"{mirror} is missing"


def constructs(source: Source) -> Iterator[Finding]:
    """What breaks off a single device, hides failures, reads pickles or hides where a name comes from."""
    for node in ast.walk(source.tree):
        found = ""
        match node:
            case ast.Call(func=ast.Attribute(attr="cuda")):
                found = ".cuda("
            case ast.Attribute(value=ast.Name(id="sys"), attr="path"):
                found = "sys.path"
            case ast.ImportFrom() if any(alias.name == "*" for alias in node.names):
                found = "import *"
            case ast.ExceptHandler(type=None):
                found = "except:"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                keywords = {word.arg: word.value for word in node.keywords}
                if (
                    not isinstance(value := keywords.get("weights_only"), ast.Constant)
                    or value.value is not True
                ):
                    found = "torch.load"
        if found:
            yield (
                f"{source.path}: {found}",
                f"line {getattr(node, 'lineno', 0)}: {found} has no place in the sources",
            )
    if "0.18215" in source.text:
        yield f"{source.path}: scaling factor", "only a latent's spec knows a scaling factor"


PACKAGES = [Source.read(path) for name in MAY_IMPORT for path in sorted((ROOT / name).rglob("*.py"))]
TESTS = [Source.read(path) for path in sorted((ROOT / "tests").rglob("*.py"))]
RULES: dict[Rule, list[Source]] = {
    directions: PACKAGES,
    siblings: PACKAGES,
    file_sizes: PACKAGES + TESTS,
    function_sizes: PACKAGES + TESTS,
    docstrings: PACKAGES + TESTS,
    names: PACKAGES,
    mirrored: PACKAGES,
    constructs: PACKAGES,
}
EXCUSED: dict[str, dict[str, str]] = tomllib.loads((ROOT / "tests" / "house_exceptions.toml").read_text())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule) -> None:
    findings = [finding for source in RULES[rule] for finding in rule(source)]
    excused = EXCUSED.get(rule.__name__, {})
    problems = [f"{what}: {why}" for what, why in findings if what not in excused]
    stale = excused.keys() - {what for what, _ in findings}
    problems += [f"{what}: this exception excuses nothing" for what in stale]
    assert not problems, "\n".join(problems)


def test_exceptions_name_a_rule_and_a_reason() -> None:
    assert EXCUSED.keys() <= {rule.__name__ for rule in RULES}
    for table in EXCUSED.values():
        assert all(len(reason.split()) >= 3 for reason in table.values())


@pytest.mark.parametrize(
    ("rule", "path", "text", "caught"),
    [
        (directions, "tokenizer/a.py", "import diffusion.pipeline", True),
        (directions, "diffusion/a.py", "from eval.report import Report", True),
        (directions, "eval/a.py", "from service import app", True),
        (directions, "service/a.py", "def f():\n    import eval.report", True),
        (directions, "service/a.py", "from diffusion.pipeline import Pipeline", False),
        (directions, "tokenizer/core/a.py", "from tokenizer.spec import LatentSpec", True),
        (directions, "tokenizer/core/a.py", "from tokenizer.core.config import Config", False),
        (directions, "tokenizer/core/a.py", "from ..model import Autoencoder", True),
        (directions, "tokenizer/layers/a.py", "from tokenizer.bottlenecks import base", True),
        (siblings, "tokenizer/backbones/a.py", "from tokenizer.backbones.b import B", True),
        (siblings, "tokenizer/backbones/a.py", "from tokenizer.backbones import b", True),
        (siblings, "tokenizer/backbones/a.py", "from . import b", True),
        (siblings, "tokenizer/backbones/a.py", "from tokenizer.backbones.base import B", False),
        (siblings, "tokenizer/backbones/a/part.py", "from tokenizer.backbones.a.other import B", False),
        (siblings, "tokenizer/backbones/__init__.py", "from tokenizer.backbones.a import A", False),
        (file_sizes, "eval/a.py", "\n" * 401, True),
        (file_sizes, "eval/a.py", "\n" * 400, False),
        (function_sizes, "eval/a.py", "def f():\n" + "    x = 1\n" * 60, True),
        (
            function_sizes,
            "eval/a.py",
            'def f():\n    """One.\n\n    Two.\n    """\n' + "    x = 1\n" * 59,
            False,
        ),
        (docstrings, "eval/a.py", "x = 1", True),
        (names, "eval/queue.py", "", True),
        (names, "eval/utils.py", "", True),
        (names, "eval/__init__.py", "", False),
        (mirrored, "eval/no_such_idea.py", "", True),
        (constructs, "eval/a.py", "x.cuda()", True),
        (constructs, "eval/a.py", "import sys\nsys.path.append('.')", True),
        (constructs, "eval/a.py", "from os import *", True),
        (constructs, "eval/a.py", "try:\n    pass\nexcept:\n    pass", True),
        (constructs, "eval/a.py", "torch.load(p)", True),
        (constructs, "eval/a.py", "torch.load(p, weights_only=False)", True),
        (constructs, "eval/a.py", "torch.load(p, weights_only=True)", False),
        (constructs, "eval/a.py", "scale = 0.18215", True),
    ],
)
def test_rules_catch_what_they_are_for(rule: Rule, path: str, text: str, caught: bool) -> None:
    assert bool(list(rule(Source(Path(path), text, ast.parse(text))))) is caught


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of tracked files")
    pattern = re.compile(rb"(?<![\w.})])/(?:work|root|farm|opt/venv/lib|opt/wheels)/")
    found = [
        name
        for name in listed.stdout.decode().split("\0")
        if name and (ROOT / name).is_file() and pattern.search((ROOT / name).read_bytes())
    ]
    assert found == []


def test_tests_are_not_packages() -> None:
    """An ``__init__.py`` under tests/tokenizer would be imported as ``tokenizer`` and hide ours."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_other_distribution_provides_our_import_names() -> None:
    """Other projects are called tokenizer and diffusion too; installed, they could shadow ours."""
    providers = packages_distributions()
    assert {other for name in MAY_IMPORT for other in providers.get(name, [])} <= {"tessera"}
