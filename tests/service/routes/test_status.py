"""What is served, and whether it is up."""

import math

from tests.service.conftest import CLASS_NAMES, Server
from tokenizer.spec import LatentSpec


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
    assert answer["limits"] == {
        "max_body_bytes": 2**20,
        "max_pixels": 512 * 512,
        "max_images": 8,
        "max_steps": 250,
        "max_guidance": 20.0,
    }


def test_health(server: Server) -> None:
    assert server.get("/health/live").json() == {"status": "alive"}
    assert server.get("/health/ready").json() == {"status": "ready"}
