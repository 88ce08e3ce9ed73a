"""The images, the compose file and the pinned versions, held without a Docker engine."""

import ast
import importlib.util
import re
import sys
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
OURS = {"tokenizer", "diffusion", "eval", "service"}
PACKAGES = {  # by stage
    "service": {"tokenizer", "diffusion", "service"},
    "train": {"tokenizer", "diffusion"},
    "eval": {"tokenizer", "diffusion", "eval"},
}
PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+]*)")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass
class Stage:
    """One stage of the Dockerfile: its parent image and its instructions, (keyword, arguments)."""

    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


def read_stages() -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    current = Stage("")
    for line in text.replace("\\\n", " ").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = stages[name] = Stage(parent)
        elif keyword:
            current.instructions.append((keyword, rest.strip()))
    return stages


STAGES = read_stages()
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())  # YAML has no narrower type
JOBS = ("service", "train", "eval")


def chain(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, its parents' first."""
    if name not in STAGES:
        return []
    return chain(STAGES[name].parent) + STAGES[name].instructions


def environment(name: str) -> dict[str, str]:
    words = " ".join(rest for keyword, rest in chain(name) if keyword == "ENV").split()
    return dict(word.split("=", 1) for word in words)


def copied(name: str) -> list[str]:
    return [source for keyword, rest in chain(name) if keyword == "COPY" for source in rest.split()[:-1]]


def load_requirements() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docker_requirements", DOCKER / "requirements.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def canonical(requirement: str) -> str:
    """``Pydantic_Settings>=2.6`` -> ``pydantic-settings``."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pinned() -> dict[str, str]:
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    pins = [PINNED.fullmatch(line) for line in lines if not line.startswith("#")]
    return {canonical(pin[1]): pin[2] for pin in pins if pin}


def test_constraints_hold_nothing_but_pinned_versions() -> None:
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not PINNED.fullmatch(line)] == []
    assert len(pinned()) == len([line for line in lines if not line.startswith("#")]), (
        "one package stands twice"
    )


def test_every_dependency_is_pinned_in_a_version_that_it_allows() -> None:
    wanted = [
        *PYPROJECT["dependencies"],
        *(item for extra in PYPROJECT["optional-dependencies"].values() for item in extra),
    ]
    wanted = [item for item in wanted if canonical(item) != "tessera"]
    assert {canonical(item) for item in wanted} - pinned().keys() == set()
    for item in wanted:
        floor = re.search(r">=\s*([0-9.]+)", item)
        if floor:
            numbers = [
                [int(part) for part in re.findall(r"\d+", text)]
                for text in (pinned()[canonical(item)], floor[1])
            ]
            assert numbers[0] >= numbers[1], f"{item} is pinned to {pinned()[canonical(item)]}"


def test_requirements_are_those_of_the_project_and_the_extra() -> None:
    requirements = load_requirements().requirements
    base = requirements(ROOT / "pyproject.toml")
    assert base == PYPROJECT["dependencies"]
    assert (
        requirements(ROOT / "pyproject.toml", ["serve"]) == base + PYPROJECT["optional-dependencies"]["serve"]
    )
    with pytest.raises(ValueError, match="no extra 'server': there are train, serve"):
        requirements(ROOT / "pyproject.toml", ["server"])


def test_the_base_is_a_cuda_image_in_one_version() -> None:
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d+\.\d+", STAGES["base"].parent)
    assert {STAGES[job].parent for job in JOBS} == {"base"}


@pytest.mark.parametrize("job", JOBS)
def test_stage_installs_its_extra_pinned_and_no_tools(job: str) -> None:
    runs = [rest for keyword, rest in STAGES[job].instructions if keyword == "RUN"]
    extra = {"service": "serve otel pipelines"}.get(job, job)
    assert any(f"pyproject.toml {extra} >" in run for run in runs)
    for keyword, rest in chain(job):
        if keyword == "RUN" and "pip install" in rest:
            assert "-c /opt/build/constraints.txt" in rest
            assert "--mount=type=cache,target=/var/cache/pip" in rest
            assert "dev" not in rest.split()


@pytest.mark.parametrize("job", JOBS)
def test_stage_copies_what_its_job_imports(job: str) -> None:
    sources = copied(job)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {source for source in sources if (ROOT / source / "__init__.py").exists()} == PACKAGES[job]
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith(("#", "!"))]
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert ignored[0] == "*"
    assert set(sources) <= kept
    assert not any(fnmatch(source, pattern) for source in sources for pattern in ignored[1:])


@pytest.mark.parametrize("job", JOBS)
def test_stage_is_not_root_and_finds_our_packages_first(job: str) -> None:
    instructions = chain(job)
    users = [rest for keyword, rest in instructions if keyword == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert [keyword for keyword, _ in STAGES[job].instructions][-2:] == ["USER", "CMD"]
    assert ("WORKDIR", "/app") in instructions
    assert environment(job)["PYTHONPATH"] == "/app"
    assert environment(job)["PATH"].startswith("/opt/venv/bin:")


def test_service_listens_outside_and_needs_keys() -> None:
    variables = environment("service")
    assert (variables["TESSERA_HOST"], variables["TESSERA_PORT"]) == ("0.0.0.0", "8000")
    assert "TESSERA_ALLOW_OPEN" not in variables
    assert "TESSERA_API_KEYS" not in variables
    assert ("EXPOSE", "8000") in STAGES["service"].instructions
    checks = [rest for keyword, rest in STAGES["service"].instructions if keyword == "HEALTHCHECK"]
    assert len(checks) == 1
    assert "/health/ready" in checks[0]


def test_service_settings_accept_what_compose_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    from service.settings import Settings

    for name, value in environment("service").items():
        if name.startswith("TESSERA_"):
            monkeypatch.setenv(name, value)
    for name, value in COMPOSE["services"]["service"]["environment"].items():
        default = re.fullmatch(r"\$\{" + name + r":-(.*)\}", value)
        assert default, f"{name} must come from the host's {name}"
        monkeypatch.setenv(name, default[1])
    with pytest.raises(ValueError, match="TESSERA_API_KEYS"):
        Settings()
    monkeypatch.setenv("TESSERA_API_KEYS", "one,two")
    assert len(Settings().key_hashes) == 2


@pytest.mark.parametrize("job", JOBS)
def test_compose_builds_each_stage_with_a_gpu_and_shared_memory(job: str) -> None:
    entry = COMPOSE["services"][job]
    assert entry["build"]["target"] in STAGES
    assert entry["build"]["target"] == job
    context = (DOCKER / entry["build"]["context"]).resolve()
    assert context == ROOT.resolve()
    assert (context / entry["build"]["dockerfile"]).samefile(DOCKER / "Dockerfile")
    assert entry["shm_size"].endswith("gb")
    (device,) = entry["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert entry.get("profiles", []) == ([] if job == "service" else [job])
    named = {volume.split(":")[0] for volume in entry["volumes"]}
    assert COMPOSE["volumes"].keys() == {"runs"}
    assert "${TESSERA_RUNS" in named


def test_compose_checks_the_health_and_publishes_to_this_machine_only() -> None:
    entry = COMPOSE["services"]["service"]
    assert "http://127.0.0.1:8000/health/ready" in entry["healthcheck"]["test"][-1]
    assert entry["ports"] == ["${TESSERA_PUBLISH:-127.0.0.1:8000}:8000"]


def test_the_cluster_manifest_fits_the_service() -> None:
    from service.settings import Settings

    manifests = {item["kind"]: item for item in yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text())}
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == COMPOSE["services"]["service"]["image"]
    given = {item["name"].removeprefix("TESSERA_").lower(): item["value"] for item in container["env"]}
    settings = Settings.model_validate(
        given | {"host": "0.0.0.0"}
    )  # the image's host: closed by the keys file
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_s + settings.drain_timeout_s
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/health/ready",
        "readiness": "/health/ready",
        "liveness": "/health/live",
    }
    (port,) = container["ports"]
    assert str(port["containerPort"]) == environment("service")["TESSERA_PORT"]
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert settings.keys_file.startswith(mounts["keys"])
    users = [rest for keyword, rest in chain("service") if keyword == "USER"]
    assert users[-1].split(":")[0] == str(pod["securityContext"]["runAsUser"])


def test_health_checks_are_python_that_compiles() -> None:
    """Both ask the service in the image, which has no curl."""
    compile(COMPOSE["services"]["service"]["healthcheck"]["test"][-1], "compose.yaml", "exec")
    (check,) = [rest for keyword, rest in STAGES["service"].instructions if keyword == "HEALTHCHECK"]
    command = yaml.safe_load(check[check.index("[") :])  # JSON, which is YAML
    assert command[:2] == ["python", "-c"]
    compile(command[2], "Dockerfile", "exec")


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("tokenizer", ["train"]),
        ("diffusion", ["train"]),
        ("eval", ["eval", "fidelity", "bench", "peers"]),
        ("service", ["serve", "otel", "pipelines"]),
    ],
)
def test_packages_import_only_what_their_image_installs(package: str, extras: list[str]) -> None:
    """``fidelity`` and the peers of benchmarks are in no image; jobs say so where they miss them."""
    optional = PYPROJECT["optional-dependencies"]
    wanted = PYPROJECT["dependencies"] + [item for extra in extras for item in optional[extra]]
    held = {canonical(item) for item in wanted} | {"starlette", "huggingface-hub"}  # of fastapi, of diffusers
    providers = packages_distributions()
    missing = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for name in {module.split(".")[0] for module in modules} - sys.stdlib_module_names - OURS:
                if not {canonical(found) for found in providers.get(name, [name])} & held:
                    missing.add(f"{path.relative_to(ROOT)}: {name}")
    assert missing == set()
