"""The panel of metrics and the record it fills."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eval import report
from eval.errors import EvaluationError, NotComputedError
from eval.metrics import METRICS, Score
from eval.protocols import canon_v1, protocol
from eval.report import Computed, NotComputed, Panel, Report, check_required
from eval.weights import WeightsConfig, WeightsRecord

CPU = torch.device("cpu")
PROTOCOL = canon_v1(32, "fail")


class Fixed:
    """A metric that gives what it was made with."""

    higher_is_better = False

    def __init__(
        self, weights: tuple[WeightsRecord, ...] = (), error: NotComputedError | None = None
    ) -> None:
        self.weights = weights
        self.error = error

    def compute(self) -> Score:
        if self.error is not None:
            raise self.error
        return Score(1.5, (1.0, 2.0), 7, {"num_real": 9})


def test_missing_weights_are_told_in_place_and_nothing_stands_in() -> None:
    panel = Panel(PROTOCOL.reconstruction, PROTOCOL, WeightsConfig(), CPU)
    real = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    panel.update(real, real.roll(1, 0))
    entries, scores = panel.compute()
    assert list(entries) == ["psnr", "ssim", "lpips_vgg", "lpips_alex", "rfid"]
    assert set(scores) == {"psnr", "ssim"}
    for name in ("lpips_vgg", "lpips_alex", "rfid"):
        entry = entries[name]
        assert isinstance(entry, NotComputed)
        assert ".pth" in entry.not_computed
        assert "weights.folder=FOLDER" in entry.put


def test_unverified_weights_change_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = WeightsRecord("inception", "mine.pth", "00ff", verified=False)
    right = WeightsRecord("inception", "pt.pth", "6726825d", verified=True)
    for record, name in ((wrong, "rfid_unverified"), (right, "rfid")):
        monkeypatch.setitem(METRICS, "rfid", lambda *_, record=record: Fixed((record,)))
        entries, _ = Panel(("rfid",), PROTOCOL, WeightsConfig(), CPU).compute()
        computed = entries[name]
        assert isinstance(computed, Computed)
        assert computed.weights[0].verified is record.verified
        assert isinstance(entries["rfid"], NotComputed if record is wrong else Computed)


def test_what_cannot_be_computed_at_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = NotComputedError("two pictures", "more")
    monkeypatch.setitem(METRICS, "rfid", lambda *_: Fixed(error=error))
    entries, scores = Panel(("rfid",), PROTOCOL, WeightsConfig(), CPU).compute()
    assert entries == {"rfid": NotComputed(not_computed="two pictures", put="more")}
    assert scores == {}


def test_every_metric_sees_the_form_that_its_protocol_says() -> None:
    """One decoded batch, five protocols: rounded, truncated, clamped and bare pixels."""

    class Seen(Fixed):
        def __init__(self, domain: str) -> None:
            super().__init__()
            self.domain = domain

        def update(self, real: torch.Tensor, fake: torch.Tensor, keys: object = None) -> None:
            self.pair = (real, fake)

    real = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    x_hat = torch.full((1, 3, 32, 32), 1.3)
    x_hat[..., 0] = 100.9 / 127.5 - 1
    for name, first in (("canon-v1", 101), ("open-magvit2", 100), ("titok", 100)):
        panel = Panel((), protocol(name, 32), WeightsConfig(), CPU)
        seen = {domain: Seen(domain) for domain in ("uint8", "clamped", "float")}
        panel.metrics.update(seen)  # type: ignore[arg-type]  # stand-ins
        panel.update(real, x_hat)
        assert seen["uint8"].pair[1][0, 0, 0, :2].tolist() == [first, 255]
        assert seen["clamped"].pair[1].max() == 1.0
        assert seen["float"].pair[1].max().item() == pytest.approx(1.3)
        assert seen["float"].pair[0].dtype == torch.float32


def test_what_is_not_built_is_told_and_not_refused() -> None:
    asking = protocol("edm2", 64).model_copy(update={"unavailable": ("fd_dinov2",)})
    entries, _ = Panel(("fd_dinov2",), asking, WeightsConfig(), CPU).compute()
    entry = entries["fd_dinov2"]
    assert isinstance(entry, NotComputed)
    assert "not built" in entry.not_computed


def test_required_metrics_are_refused_where_missing() -> None:
    panel = Panel(PROTOCOL.reconstruction, PROTOCOL, WeightsConfig(), CPU)
    names = dict.fromkeys(panel.names)
    check_required(("psnr", "ssim"), names, panel.missing)
    with pytest.raises(EvaluationError, match=r"rfid: needs pt_inception.*put it into a folder"):
        check_required(("psnr", "rfid"), names, panel.missing)
    with pytest.raises(EvaluationError, match="kid: not among the metrics"):
        check_required(("kid",), names, panel.missing)


def test_unknown_metrics_list_the_known() -> None:
    with pytest.raises(ValueError, match="psnr, ssim"):
        Panel(("fid",), PROTOCOL, WeightsConfig(), CPU)


def test_json_round_trip_with_infinity(make_report: Callable[..., Report]) -> None:
    made = make_report(
        psnr=Computed(
            value=math.inf,
            ci95=(40.0, math.inf),
            num_images=7,
            higher_is_better=True,
            details={"std": math.inf},
        ),
        rfid=NotComputed(not_computed="a", put="b"),
    )
    tree = json.loads(made.to_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert tree["metrics"]["psnr"]["value"] == "inf"
    assert tree["metrics"]["psnr"]["ci95"] == [40.0, "inf"]
    assert tree["metrics"]["rfid"] == {"not_computed": "a", "put": "b"}
    again = Report.parse(tree)
    psnr = again.metrics["psnr"]
    assert isinstance(psnr, Computed)
    assert psnr.value == psnr.ci95[1] == math.inf
    assert again.to_text() == made.to_text()


def test_summary_names_protocol_and_every_metric(make_report: Callable[..., Report]) -> None:
    text = make_report(
        psnr=Computed(value=25.0, ci95=(24.0, 26.0), num_images=7, higher_is_better=True),
        rfid=NotComputed(not_computed="file", put="there"),
    ).summary()
    assert PROTOCOL.hash in text
    assert "25.0000   95 % 24.0000 to 26.0000" in text
    assert "not computed: needs file; put it there" in text


def test_files_are_written_whole(tmp_path: Path) -> None:
    report.write_text(tmp_path / "a.json", "1")
    report.write_text(tmp_path / "a.json", "2")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "2")]
