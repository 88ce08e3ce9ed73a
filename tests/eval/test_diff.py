"""Two reports: compared on the same pictures, refused with every reason otherwise."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.diff import diff, main, paired_bootstrap, why_not
from eval.errors import EvaluationError
from eval.protocols import canon_v1, protocol
from eval.report import Computed, NotComputed, ProtocolRecord, Report, WeightsEntry, write_text

N = 7
RNG = np.random.default_rng(0)
BASE = 25 + 4 * RNG.standard_normal(N)
BETTER = BASE + 0.3 + 0.05 * RNG.standard_normal(N)


def computed(values: np.ndarray, *, higher: bool = True, weights: tuple[WeightsEntry, ...] = ()) -> Computed:
    return Computed(
        value=float(values.mean()),
        ci95=(float(values.mean() - 3), float(values.mean() + 3)),
        num_images=N,
        higher_is_better=higher,
        weights=weights,
    )


@pytest.fixture
def write(tmp_path: Path, make_report: Callable[..., Report]) -> Callable[..., Path]:
    """A folder with a report, and scores by picture for psnr and lpips_vgg."""

    def make(name: str, psnr: np.ndarray, *, names: list[str] | None = None, **changes: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        report = make_report(
            psnr=computed(psnr),
            lpips_vgg=computed(1 / psnr, higher=False),
            rfid=computed(np.array([8.0 if name == "a" else 2.0]), higher=False),
            kid=NotComputed(not_computed="file", put="there"),
        ).model_copy(update=changes)
        write_text(folder / "report.json", report.to_text())
        with (folder / "per_image.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "psnr", "lpips_vgg"])
            for index, value in enumerate(psnr):
                table.writerow([names[index] if names else f"{index}.png", value, 1 / value])
        return folder

    return make


def test_paired_differences_are_seen_where_intervals_overlap(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    a, b = write("a", BASE), write("b", BETTER)
    out = tmp_path / "diff.json"
    main([str(a), str(b / "report.json"), f"out={out}"])
    text = capsys.readouterr().out
    made = diff(a, b)
    psnr, lpips, rfid = (made.differences[name] for name in ("psnr", "lpips_vgg", "rfid"))
    assert psnr.difference == pytest.approx((BETTER - BASE).mean())
    assert psnr.ci95 is not None
    assert 0.2 < psnr.ci95[0] < psnr.difference < psnr.ci95[1] < 0.4
    assert (psnr.verdict, psnr.b_is_better) == ("B is better", 1.0)
    assert (lpips.verdict, lpips.b_is_better) == ("B is better", 1.0)  # lower is better there
    assert (rfid.difference, rfid.ci95, rfid.verdict) == (-6.0, None, "their intervals overlap")
    assert made.left_out == {"kid": "not computed in A and B"}
    assert "B is better" in text
    assert json.loads(out.read_text())["differences"]["psnr"]["difference"] == pytest.approx(psnr.difference)
    swapped = diff(b, a).differences["psnr"]
    assert (swapped.verdict, swapped.b_is_better) == ("A is better", 0.0)


def test_noise_is_no_difference(write: Callable[..., Path]) -> None:
    noise = np.array([0.1, -0.1, 0.05, -0.06, 0.02, -0.01, 0.0])
    made = diff(write("a", BASE), write("b", BASE + noise)).differences["psnr"]
    assert made.verdict == "no difference that these pictures show"


def test_the_interval_is_that_of_differences() -> None:
    """95 % of the intervals hold the truth, whatever the pictures' own spread is."""
    held = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        base = 25 + 4 * draw.standard_normal(60)
        other = base + 0.1 + 0.3 * draw.standard_normal(60)
        _, (low, high) = paired_bootstrap(base, other, resamples=200, seed=0)
        assert high - low < 0.4
        held += low <= 0.1 <= high
    assert 85 <= held <= 100


def test_equal_pictures_do_not_differ() -> None:
    mean, interval = paired_bootstrap([math.inf, 30.0], [math.inf, 31.0], resamples=50, seed=0)
    assert mean == 0.5
    assert interval[0] <= 0.5 <= interval[1]
    assert paired_bootstrap([math.inf, 30.0], [40.0, 31.0], resamples=50, seed=0)[1] == (-math.inf, math.inf)


@pytest.mark.parametrize("name", ["llamagen", "dc-ae", "vavae"])
def test_other_protocols_are_refused_with_what_differs(name: str, make_report: Callable[..., Report]) -> None:
    other = make_report().model_copy(update={"protocol": ProtocolRecord.of(protocol(name, 32))})
    (reason,) = why_not(make_report(), other)
    assert f"canon-v1 {canon_v1(32, 'fail').hash} / {name}" in reason
    assert "ssim." in reason


def test_every_reason_is_told(write: Callable[..., Path], make_report: Callable[..., Report]) -> None:
    made = make_report()
    other = made.model_copy(
        update={
            "job": "generate",
            "num_images": 8,
            "protocol": ProtocolRecord.of(canon_v1(64, "fail")),
        }
    )
    reasons = " ".join(why_not(made, other))
    for part in ("reconstruct", "resolution 32 / 64", "7 / 8"):
        assert part in reasons
    with pytest.raises(EvaluationError, match="per_image.csv names others"):
        diff(write("a", BASE), write("b", BASE, names=[f"other/{index}.png" for index in range(N)]))
    first = made.data.model_copy(update={"content": "aa"})
    second = made.data.model_copy(update={"content": "bb"})
    with pytest.raises(EvaluationError, match=r"other pictures: pictures \(aa\)"):
        diff(write("c", BASE, data=first), write("d", BASE, data=second))


def test_other_weights_are_not_compared(
    write: Callable[..., Path], make_report: Callable[..., Report]
) -> None:
    entry = WeightsEntry(name="inception", file="a", sha256="aa", verified=False)
    metrics = {"rfid_unverified": computed(BASE, higher=False, weights=(entry,))}
    others = {
        "rfid_unverified": computed(BASE, higher=False, weights=(entry.model_copy(update={"sha256": "bb"}),))
    }
    made = diff(write("a", BASE, metrics=metrics), write("b", BASE, metrics=others))
    assert made.differences == {}
    assert "other weight files" in made.left_out["rfid_unverified"]


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "c"], ["no/such/folder", "other"]])
def test_mistakes_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("eval.diff: ")
