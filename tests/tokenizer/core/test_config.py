"""Laws of the configuration: overrides, closed keys, presets, and one grammar for every job."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, ValidationError

from tokenizer.core.config import Config, _read, find_preset, from_cli, refusals


class Circle(Config):
    """A round one."""

    kind: Literal["circle"] = "circle"
    radius: float = 1.0


class Box(Config):
    """A square one."""

    kind: Literal["box"] = "box"
    sides: tuple[int, ...] = (1, 2)


class Phase(Config):
    """One part of a plan."""

    images: int
    lr: float = 1e-3


class Job(Config):
    """What the tests configure."""

    name: str = "job"
    lr: float = Field(0.1, description="step size")
    flag: bool = False
    shape: Annotated[Circle | Box, Field(discriminator="kind")] = Circle()
    phases: tuple[Phase, ...] = (Phase(images=1),)
    note: str | None = None


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "small.yaml").write_text(
        "lr: 1e-4\nshape: {kind: box, sides: [3, 4]}\nphases:\n- {images: 10}\n- {images: 20, lr: 2e-5}\n"
    )
    (folder / "empty.yaml").write_text("")
    return folder


def test_overrides_reach_into_mappings_and_lists(presets: Path) -> None:
    overrides = [
        "lr=3e-5",
        "flag=true",
        "phases.1.images=7",
        "phases.0.lr=5e-6",
        "shape.sides.0=9",
        "name=x=y",
    ]
    job = Job.load(presets / "small.yaml", overrides)
    assert job.lr == 3e-5
    assert job.flag is True
    assert [phase.images for phase in job.phases] == [10, 7]
    assert [phase.lr for phase in job.phases] == [5e-6, 2e-5]
    assert job.shape == Box(sides=(9, 4))
    assert job.name == "x=y"


def test_an_override_can_replace_a_whole_branch(presets: Path) -> None:
    job = Job.load(
        presets / "small.yaml", ["shape={kind: circle, radius: 2}", "phases=[{images: 3}]", "note=null"]
    )
    assert job.shape == Circle(radius=2.0)
    assert job.phases == (Phase(images=3),)
    assert job.note is None


def test_later_overrides_win() -> None:
    assert Job.load(None, ["lr=1", "lr=2"]).lr == 2.0


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_small_numbers_are_numbers_in_presets_and_overrides(text: str, tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4 as a word; the schema knows better."""
    preset = tmp_path / "p.yaml"
    preset.write_text(f"lr: {text}\n")
    assert Job.load(preset).lr == 1e-4
    assert Job.load(None, [f"lr={text}"]).lr == 1e-4


def test_an_empty_preset_is_the_defaults(presets: Path) -> None:
    assert Job.load(presets / "empty.yaml") == Job() == Job.load(None)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("lrr=1", ["lrr: unknown key", "flag, lr, name, note, phases, shape"]),
        ("shape={kind: box, radius: 1}", ["shape.box.radius: unknown key", "one of kind, sides"]),
        ("shape={kind: circle, sides: 1}", ["shape.circle.sides: unknown key", "one of kind, radius"]),
        ("phases=[{images: 1, steps: 2}]", ["phases.0.steps: unknown key", "one of images, lr"]),
        ("phases=[{}]", ["phases.0.images: Field required"]),
        ("lr=fast", ["lr: ", "(got 'fast')"]),
        ("shape={kind: star}", ["shape: ", "'star'", "'circle', 'box'"]),
        ("shape={radius: 1}", ["shape: ", "kind"]),
    ],
)
def test_a_mistake_names_its_path_and_the_choices(override: str, parts: list[str]) -> None:
    with pytest.raises(ValueError) as mistake:  # noqa: PT011  (the sentence is checked below)
        Job.load(None, [override])
    for part in parts:
        assert part in str(mistake.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ValueError) as mistake:  # noqa: PT011  (the sentence is checked below)
        Job.load(None, ["lrr=1", "flag=perhaps"])
    assert len(str(mistake.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr", "overrides are written dotted.key=value"),
        ("phases.2.images=1", "'2' must be a position from 0 to 1"),
        ("phases.first.images=1", "'first' must be a position from 0 to 1"),
        ("phases.-1.images=1", "'-1' must be a position"),
        ("lr.deep=1", "'lr' is a value and has no keys below it"),
    ],
)
def test_an_override_that_leads_nowhere_says_why(override: str, message: str, presets: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Job.load(presets / "small.yaml", [override])


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Job().lr = 2.0  # type: ignore[misc]  # that this is refused is the test


def test_the_same_configuration_has_the_same_json() -> None:
    assert Job.parse({"lr": 1, "name": "a"}).to_json() == Job.parse({"name": "a", "lr": 1.0}).to_json()
    assert Job.parse({"lr": 2}).to_json() != Job().to_json()


def test_a_preset_is_a_name_or_a_path(presets: Path, tmp_path: Path) -> None:
    assert find_preset("small", presets) == presets / "small.yaml"
    elsewhere = tmp_path / "mine.yaml"
    elsewhere.write_text("lr: 7\n")
    assert from_cli(Job, "job", presets, [str(elsewhere)]).lr == 7.0
    assert from_cli(Job, "job", presets, ["small"]).phases[0].images == 10
    assert from_cli(Job, "job", presets, ["lr=3"]).lr == 3.0
    assert from_cli(Job, "job", presets, []) == Job()


def test_an_unknown_preset_lists_those_there_are(presets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        from_cli(Job, "jobs.work", presets, ["smal"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("jobs.work: ")
    assert "'smal'" in error
    assert "empty, small" in error


def test_a_mistake_on_the_command_line_exits_with_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        from_cli(Job, "job", Path("nowhere"), ["shape.raduis=1", "shape.kind=circle"])
    assert stop.value.code == 2
    assert "shape.circle.raduis" in capsys.readouterr().err


def test_print_shows_what_would_run_and_reads_back(presets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        from_cli(Job, "job", presets, ["small", "phases.1.lr=1e-5", "--print"])
    assert stop.value.code == 0
    shown = Job.parse(yaml.safe_load(capsys.readouterr().out))
    assert shown == Job.load(presets / "small.yaml", ["phases.1.lr=1e-5"])


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_presets_fields_defaults_and_kinds(
    flag: str, presets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        from_cli(Job, "jobs.work", presets, [flag])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for text in (
        "python -m jobs.work [PRESET]",
        "What the tests configure.",
        "presets: empty, small",
        "lr = 0.1    step size",
        "shape: kind circle    A round one.",
        "shape: kind box    A square one.",
        "shape.radius = 1.0",
        "phases[].images (required)",
    ):
        assert text in shown


def test_a_preset_must_be_a_mapping(tmp_path: Path) -> None:
    preset = tmp_path / "list.yaml"
    preset.write_text("- 1\n- 2\n")
    with pytest.raises(ValueError, match="a preset is a mapping"):
        Job.load(preset)


def test_a_refusal_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, refusals("tokenizer.train"):
        raise ValueError("data.path=/nowhere is not a folder")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "tokenizer.train: data.path=/nowhere is not a folder\n"


def test_a_defect_is_not_taken_for_a_refusal() -> None:
    with pytest.raises(KeyError), refusals("tokenizer.train"):
        raise KeyError("ours")


def test_a_job_names_what_else_it_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, refusals("tokenizer.train", ArithmeticError):
        raise OverflowError("20 steps in a row were not finite")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "tokenizer.train: 20 steps in a row were not finite\n"


def presets_in(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_preset_extends_another_key_by_key(tmp_path: Path) -> None:
    folder = presets_in(
        tmp_path,
        base="a: {kind: one, deep: {x: 1, y: 2}}\nlist: [1, 2]\nkept: 3\n",
        middle="extends: base\na: {deep: {y: 5}}\n",
        leaf="extends: middle\nlist: [9]\n",
        other="extends: base\na: {kind: two, z: 1}\n",
    )
    assert _read(folder / "leaf.yaml") == {
        "a": {"kind": "one", "deep": {"x": 1, "y": 5}},
        "list": [9],
        "kept": 3,
    }
    assert _read(folder / "other.yaml")["a"] == {"kind": "two", "z": 1}


def test_a_preset_that_extends_nothing_or_itself_is_refused(tmp_path: Path) -> None:
    folder = presets_in(tmp_path, one="extends: two\n", two="extends: one\n", lost="extends: nobody\n")
    with pytest.raises(ValueError, match="round in a circle"):
        _read(folder / "one.yaml")
    with pytest.raises(ValueError, match=r"extends 'nobody', but .* has only: lost, one, two"):
        _read(folder / "lost.yaml")


def test_what_a_shell_made_of_braces_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        from_cli(Job, "jobs.work", None, ["lr=1", "name=a-0.tar", "name=a-1.tar"])
    assert ended.value.code == 2
    assert "name is given twice, 'name=a-0.tar' and 'name=a-1.tar': give it once" in capsys.readouterr().err
