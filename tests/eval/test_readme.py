"""The page of this folder tells the truth about it."""

import re
from pathlib import Path

from eval import generate, reconstruct, throughput
from eval.compare import settings as compare
from eval.compare.columns import COLUMNS
from eval.metrics import METRICS
from eval.protocols import PROTOCOLS
from eval.serving import settings as serving
from eval.serving.servers import PEERS
from eval.weights import KNOWN, WeightsConfig

README = (Path(reconstruct.__file__).parent / "README.md").read_text()


def test_every_file_metric_protocol_and_weight_is_named() -> None:
    for file in Path(reconstruct.__file__).parent.glob("*.py"):
        assert file.name == "__init__.py" or f"`{file.name}`" in README
    for name in (*METRICS, *PROTOCOLS):
        assert name in README or name in {"psnr", "ssim"}
    for known in KNOWN.values():
        assert known.file in README
    for option in WeightsConfig.model_fields:
        assert f"weights.{option}=" in README


def test_every_preset_is_named() -> None:
    for job in (reconstruct, generate, throughput, compare, serving):
        for file in job.PRESETS.glob("*.yaml"):
            assert f"`{file.stem}`" in README


def test_every_number_of_a_comparison_is_explained() -> None:
    for name in COLUMNS:
        assert f"`{name.removesuffix('_unverified')}`" in README


def test_every_part_and_file_of_the_measured_service_is_named() -> None:
    for part in serving.PARTS:
        assert f"| `{part}` |" in README
    for name in serving.ServingConfig.model_fields["peers"].default:
        assert PEERS[name][0].split()[0].lower() in README.lower()


def test_tests_it_points_to_exist() -> None:
    folder = Path(__file__).parent
    for name in re.findall(r"`(test_\w+\.py)`", README):
        assert list(folder.rglob(name))
