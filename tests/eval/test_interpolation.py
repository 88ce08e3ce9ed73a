"""iFID: neighbours, the way to them, and the job over a tiny tokenizer."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eval.errors import EvaluationError, NotComputedError
from eval.interpolation import (
    InterpolationConfig,
    flat,
    interpolated,
    main,
    neighbours,
    run,
    unflat,
)
from eval.metrics import METRICS
from eval.metrics.fid import frechet_score
from eval.metrics.sets import SetComparison
from eval.protocols import EvaluationProtocol, protocol
from eval.protocols.settings import InterpolationSettings
from eval.weights import WeightsConfig
from tokenizer.spec import Latent

SPHERE, LINE = InterpolationSettings(), InterpolationSettings(path="linear")


def rows(seed: int, n: int, d: int = 12) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_neighbours_are_the_nearest_by_cosine_or_by_distance() -> None:
    table = rows(0, 30)
    far = table[7] * 5.0 + 0.01  # the same direction, far away
    draw = torch.Generator().manual_seed(0)
    assert torch.equal(neighbours(far.unsqueeze(0), table, SPHERE, draw)[0], table[7])
    distances = torch.cdist(far.unsqueeze(0), table)[0]
    assert torch.equal(neighbours(far.unsqueeze(0), table, LINE, draw)[0], table[distances.argmin()])
    assert distances.argmin() != 7 or distances.min() < distances[7] + 1e-6


@pytest.mark.parametrize("settings", [SPHERE, LINE])
def test_a_picture_is_not_its_own_neighbour(settings: InterpolationSettings) -> None:
    table = rows(1, 20)
    draw = torch.Generator().manual_seed(0)
    own = torch.arange(20)
    near = neighbours(table, table, settings, draw, own)
    assert not bool((near == table).all(dim=1).any())
    assert torch.equal(neighbours(table, table, settings, draw), table)
    many = settings.model_copy(update={"neighbours": 20})
    with pytest.raises(EvaluationError, match="too few for 20 neighbours"):
        neighbours(table, table, many, draw, own)


def test_of_several_candidates_one_is_drawn_by_its_error() -> None:
    table = torch.tensor([[1.0, 0.0], [1.0, 0.1], [3.0, 0.4], [0.0, 1.0]])
    settings = InterpolationSettings(neighbours=3)
    row = torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    drawn = neighbours(row, table, settings, torch.Generator().manual_seed(0))
    counts = [int((drawn == other).all(dim=1).sum()) for other in table]
    assert counts[3] == 0  # not among the three nearest
    errors = (table[:3] - row[0]).square().mean(dim=1)
    expected = (-errors).softmax(dim=0) * 400
    assert counts[:3] == pytest.approx(expected.tolist(), abs=40)
    again = neighbours(row, table, settings, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_the_way_along_the_arc_keeps_the_length_and_halves_the_angle() -> None:
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    made = interpolated(first, second, SPHERE)
    torch.testing.assert_close(made, torch.full((1, 2), 0.5**0.5))
    torch.testing.assert_close(interpolated(first, second, LINE), torch.full((1, 2), 0.5))
    for settings in (SPHERE, LINE):
        ends = [settings.model_copy(update={"alpha": alpha}) for alpha in (0.0, 1.0)]
        torch.testing.assert_close(interpolated(rows(2, 3), rows(3, 3), ends[0]), rows(2, 3))
        torch.testing.assert_close(interpolated(rows(2, 3), rows(3, 3), ends[1]), rows(3, 3))
        parallel = interpolated(first, 3.0 * first, settings)  # no angle between them: straight
        torch.testing.assert_close(parallel, torch.tensor([[2.0, 0.0]]))


def test_latents_of_several_parts_are_one_row() -> None:
    latent = Latent({"a": rows(4, 2).view(2, 3, 2, 2), "b": rows(5, 2, 5)}, (8, 8), "ab")
    made = unflat(flat(latent), latent)
    assert made.parts.keys() == latent.parts.keys()
    assert all(torch.equal(made.parts[name], latent.parts[name]) for name in latent.parts)
    assert (made.size, made.spec_id, made.indices) == (latent.size, "ab", {})
    with pytest.raises(EvaluationError, match="indices without latents"):
        flat(Latent({}, (8, 8), "ab", {"z": torch.zeros(1, 4, dtype=torch.int64)}))


@pytest.fixture
def _small_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """FID over area means in place of Inception."""

    def load(named: EvaluationProtocol, weights: WeightsConfig, device: torch.device) -> SetComparison:
        quick = named.model_copy(update={"interval": named.interval.model_copy(update={"fid_resamples": 3})})

        def score(real: Tensor, fake: Tensor) -> object:
            return frechet_score(quick, real, fake, paired=True)

        def extract(x: Tensor) -> Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(x.float(), 1).flatten(1)

        return SetComparison(named, extract, (), score)  # type: ignore[arg-type]  # a Score

    monkeypatch.setitem(METRICS, "rfid", load)


@pytest.mark.usefixtures("_small_features")
def test_job(
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = InterpolationConfig.parse(
        {
            "tokenizer": str(tokenizer_folder),
            "data": {"path": pictures_folder, "resolution": 32},
            "out": tmp_path / "own",
            "batch_size": 3,
            "device": "cpu",
            "require": ["ifid"],
        }
    )
    report = run(config)
    told = json.loads((tmp_path / "own" / "report.json").read_text())
    assert list(told["metrics"]) == ["rfid", "ifid"]
    assert (told["num_images"], told["num_neighbours"], told["own_left_out"]) == (8, 8, True)
    assert told["metrics"]["ifid"]["value"] != told["metrics"]["rfid"]["value"]
    assert "neighbours among 8" in report.summary()
    main(
        [
            f"tokenizer={tokenizer_folder}",
            f"data.path={pictures_folder}",
            "data.resolution=32",
            f"neighbours.path={pictures_folder}",
            f"out={tmp_path / 'other'}",
            "device=cpu",
        ]
    )
    assert "ifid" in capsys.readouterr().out
    # the neighbours are the pictures themselves, so that nothing moves
    other = json.loads((tmp_path / "other" / "report.json").read_text())
    assert other["metrics"]["ifid"]["value"] == pytest.approx(other["metrics"]["rfid"]["value"], rel=1e-4)


def test_without_the_network_it_says_so_or_fails(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> SetComparison:
        raise NotComputedError("a file", "there")

    monkeypatch.setitem(METRICS, "rfid", missing)
    config = InterpolationConfig.parse(
        {
            "tokenizer": str(tokenizer_folder),
            "data": {"path": pictures_folder, "resolution": 32, "max_images": 3},
            "out": tmp_path,
            "device": "cpu",
        }
    )
    assert "ifid         not computed: needs a file; put it there" in run(config).summary()
    with pytest.raises(EvaluationError, match="required, and not computed: ifid"):
        run(config.model_copy(update={"require": ("ifid",)}))
    sized = config.model_copy(update={"neighbours": config.data.model_copy(update={"resolution": 16})})
    with pytest.raises(EvaluationError, match="leave it out"):
        run(sized)


def test_the_published_code_draws_among_ten() -> None:
    assert protocol("ifid", 256).interpolation.neighbours == 10
    assert protocol("canon-v1", 256).interpolation == InterpolationSettings()
