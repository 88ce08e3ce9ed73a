"""The models over HTTP: what is told of them; loading, unloading, adding, removing, and which is the default."""

from __future__ import annotations

import math
from pathlib import Path
from shutil import copytree

import pytest

from tests.service.conftest import CLASS_NAMES, Server, StartServer, as_file, picture
from tests.service.pipeline_folders import make_dit
from tests.service.routes.test_pictures import refused
from tokenizer.spec import LatentSpec

PNG = as_file(picture(32, 32))


@pytest.fixture(scope="module")
def shelf(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder below which models may be added: a copy of a tokenizer, a pipeline, a link out of it, and no model."""
    shelf = tmp_path_factory.mktemp("shelf")
    copytree(models["other"], shelf / "vaes" / "other")
    make_dit(shelf / "dit")
    (shelf / "out").symlink_to(models["tiny"])
    (shelf / "empty").mkdir()
    return shelf


@pytest.fixture(scope="module")
def lazy(start_server: StartServer, models: dict[str, Path], shelf: Path) -> Server:
    """A server that loads by first use, with memory for a generator, its tokenizer, a pipeline and little more."""
    sizes = {name: (folder / "model.safetensors").stat().st_size for name, folder in models.items()}
    pipeline = sum(path.stat().st_size for path in (shelf / "dit").rglob("*.safetensors"))
    budget = pipeline + sizes["tiny"] + sizes["shapes"] + sizes["other"] // 2
    names = ("tiny", "other", "shapes")
    return start_server(
        models=",".join(f"{name}={models[name]}" for name in names),
        load="first-use",
        model_memory_bytes=budget,
        model_folders=shelf,
        warmup_s=0,
    )


def states(server: Server) -> dict[str, str]:
    return {model["name"]: model["state"] for model in server.get("/v1/models").json()["data"]}


def test_models_tell_spec_licence_figures_classes_sizes_and_limits(server: Server) -> None:
    answer = server.get("/v1/models").json()
    tiny, other, codes, shapes = answer["data"]
    assert [(model["kind"], model["name"], model["default"]) for model in answer["data"]] == [
        ("tokenizer", "tiny", True),
        ("tokenizer", "other", False),
        ("tokenizer", "codes", False),
        ("generator", "shapes", True),
    ]
    assert LatentSpec.parse(tiny["spec"]).shape((32, 32)) == {"z": (8, 8, 8)}
    assert (tiny["licence"], tiny["figures"]) == ("CC0-1.0", {"psnr": 12.5})
    assert tiny["spec_id"] == shapes["spec_id"] != other["spec_id"]
    assert (shapes["tokenizer"], shapes["class_names"]) == ("tiny", list(CLASS_NAMES))
    assert shapes["sizes"] == [[32, 32]]
    assert tiny["codes"] is None
    assert codes["codes"] == {
        "codebook_size": 3**8,
        "num_codebooks": 1,
        "scales": None,
        "index_dtype": "uint16",
        "bits_per_index": 8 * math.log2(3),
    }
    assert {model["state"] for model in answer["data"]} == {"loaded"}
    assert all(model["memory_bytes"] > 0 and model["error"] is None for model in answer["data"])
    total = sum(model["memory_bytes"] for model in answer["data"])
    assert answer["memory"] == {"used_bytes": total, "budget_bytes": None}
    assert (shapes["family"], shapes["conditioning"], shapes["takes"]) == ("tessera", "class", ["guidance"])
    assert answer["limits"] == {
        "max_body_bytes": 2**20,
        "max_pixels": 512 * 512,
        "max_images": 8,
        "max_steps": 250,
        "max_guidance": 20.0,
    }


def test_one_model_and_the_unknown(server: Server) -> None:
    assert server.get("/v1/models/codes").json() == server.get("/v1/models").json()["data"][2]
    assert server.get("/v1/models/shapes?kind=generator").json()["kind"] == "generator"
    refused(server.get("/v1/models/shapes?kind=tokenizer"), 404, "unknown_model")
    refused(server.post("/v1/models/gone/load"), 404, "unknown_model")
    refused(server.get("/v1/models/codes?kind=x"), 422, "invalid_parameter")


def test_without_folders_nothing_is_added(server: Server) -> None:
    refused(server.post("/v1/models", json={"name": "a", "path": "b"}), 403, "model_refused")


def test_a_request_loads_its_model_and_the_least_recently_used_leaves(lazy: Server) -> None:
    assert set(states(lazy).values()) == {"unloaded"}
    assert lazy.post("/v1/encode?model=other", content=PNG).status_code == 200
    assert states(lazy) == {"tiny": "unloaded", "other": "loaded", "shapes": "unloaded"}
    made = lazy.post("/v1/generate", json={"label": 0, "seed": 7})
    assert made.status_code == 200
    added = lazy.post("/v1/models", json={"name": "dit", "path": "dit"})
    assert (added.status_code, added.json()["state"]) == (201, "unloaded")
    loaded = lazy.post("/v1/models/dit/load", timeout=280)
    assert loaded.status_code == 200, loaded.text
    assert states(lazy) == {"tiny": "loaded", "other": "unloaded", "shapes": "loaded", "dit": "loaded"}
    assert lazy.post("/v1/encode?model=other", content=PNG).status_code == 200
    assert states(lazy) == {"tiny": "loaded", "other": "loaded", "shapes": "unloaded", "dit": "loaded"}
    memory = lazy.get("/v1/models").json()["memory"]
    assert 0 < memory["used_bytes"] <= memory["budget_bytes"]
    assert lazy.post("/v1/generate", json={"label": 0, "seed": 7, "model": "shapes"}).content == made.content


def test_a_pipeline_generates(lazy: Server) -> None:
    facts = lazy.get("/v1/models/dit").json()
    assert (facts["family"], facts["tokenizer"], facts["conditioning"]) == ("DiTPipeline", None, "class")
    asked = {"model": "dit", "label": "goldfish", "num_steps": 2, "seed": 3}
    made = lazy.post("/v1/generate", json=asked)
    assert made.status_code == 200, made.text
    assert made.headers["x-tessera-spec"] == facts["spec_id"]
    assert made.headers["x-tessera-size"] == "32,32"
    assert lazy.post("/v1/generate", json=asked | {"label": 1}).content == made.content
    for change, param in (
        ({"prompt": "a fox"}, "prompt"),
        ({"output": "latent"}, "output"),
        ({"label": 1000}, "label"),
        ({"size": [64, 64]}, "size"),
    ):
        answer = lazy.post("/v1/generate", json=asked | change)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
    stream = lazy.post("/v1/generate", json=asked | {"stream": True}).text
    assert "event: progress" in stream
    assert "event: result" in stream


def test_load_and_unload(lazy: Server) -> None:
    assert lazy.post("/v1/models/shapes/load").json()["state"] == "loaded"
    refused(lazy.post("/v1/models/tiny/unload"), 409, "model_in_use")
    for name in ("shapes", "tiny"):
        answer = lazy.post(f"/v1/models/{name}/unload").json()
        assert (answer["state"], answer["memory_bytes"]) == ("unloaded", 0)
    answer = lazy.post("/v1/models/tiny/load").json()
    assert (answer["state"], answer["in_use"]) == ("loaded", 0)
    assert answer["load_seconds"] > 0


def test_the_default_can_be_another(lazy: Server) -> None:
    spec_ids = {model["name"]: model["spec_id"] for model in lazy.get("/v1/models").json()["data"]}
    for name in ("other", "tiny"):
        assert lazy.post(f"/v1/models/{name}/default").json()["default"]
        assert lazy.post("/v1/encode", content=PNG).headers["x-tessera-spec"] == spec_ids[name]


def test_a_tokenizer_is_added_and_removed(lazy: Server, shelf: Path) -> None:
    added = lazy.post("/v1/models", json={"name": "again", "path": "vaes/other"})
    assert (added.status_code, added.json()["state"]) == (201, "unloaded")
    assert str(shelf) not in added.text
    refused(lazy.post("/v1/models", json={"name": "again", "path": "vaes/other"}), 409, "model_exists")
    assert lazy.post("/v1/encode?model=again", content=PNG).status_code == 200
    assert lazy.client.delete("/v1/models/again").json() == {
        "id": "again",
        "object": "model",
        "deleted": True,
    }
    refused(lazy.post("/v1/encode?model=again", content=PNG), 404, "unknown_model")


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"name": "a b", "path": "dit"}, 422, "invalid_parameter", "name"),
        ({"name": "a"}, 422, "invalid_parameter", "path"),
        ({"name": "a", "path": "../x"}, 422, "invalid_parameter", "path"),
        ({"name": "a", "path": "/etc"}, 422, "invalid_parameter", "path"),
        ({"name": "a", "path": "out"}, 422, "invalid_parameter", "path"),
        ({"name": "a", "path": "empty"}, 422, "invalid_parameter", "path"),
        ({"name": "a", "path": "dit", "code": True}, 422, "invalid_parameter", "code"),
    ],
)
def test_what_is_not_added(
    lazy: Server, shelf: Path, body: dict[str, object], status: int, code: str, param: str
) -> None:
    answer = lazy.post("/v1/models", json=body)
    assert refused(answer, status, code)["param"] == param
    assert str(shelf) not in answer.text


def test_a_folder_that_changed_is_refused_with_both_names(
    lazy: Server, shelf: Path, models: dict[str, Path]
) -> None:
    copytree(models["tiny"], shelf / "changing")
    before = lazy.post("/v1/models", json={"name": "changing", "path": "changing"}).json()["spec_id"]
    for file in models["codes"].iterdir():
        (shelf / "changing" / file.name).write_bytes(file.read_bytes())
    facts = refused(lazy.post("/v1/encode?model=changing", content=PNG), 503, "model_changed")
    assert before in facts["message"]
    assert facts["found_spec_id"] in facts["message"]
    assert lazy.get("/v1/models/changing").json()["state"] == "failed"
    assert lazy.post("/v1/encode?model=tiny", content=PNG).status_code == 200
