"""The record book: whole, and beside a report only what was made under the same protocol and number of pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.diff import main
from eval.errors import EvaluationError
from eval.metrics import METRICS
from eval.protocols import PROTOCOLS, protocol
from eval.published import beside_published, read_book, why_not_beside
from eval.report import Computed, ProtocolRecord, Report, write_text

ELSEWHERE = {"vidtok", "tokenbench"}  # protocols of video
OTHER_METRICS = {"ifid", "rfvd", "psim"}


def report(
    make_report: Callable[..., Report], name: str = "dc-ae", resolution: int = 512, n: int = 50000
) -> Report:
    def computed(value: float, *, higher: bool) -> Computed:
        interval = (value - 0.05, value + 0.05)
        return Computed(value=value, ci95=interval, num_images=n, higher_is_better=higher)

    made = make_report(psnr=computed(26.30, higher=True), rfid=computed(0.25, higher=False))
    return made.model_copy(
        update={"num_images": n, "protocol": ProtocolRecord.of(protocol(name, resolution))}
    )


def test_the_book_is_whole() -> None:
    book = read_book()
    assert len(book) > 100
    for record in book:
        assert record.protocol in {"", *PROTOCOLS, *ELSEWHERE}, record
        assert record.source
        assert record.dataset
        assert record.metrics
        assert set(record.metrics) <= {*METRICS, *OTHER_METRICS}, record
        if record.protocol in PROTOCOLS:
            named = protocol(record.protocol, record.resolution)
            # a protocol's record holds what the protocol measures, or what shares its features
            assert record.hash == named.hash
    told = [
        (r.model, r.protocol, r.resolution, r.dataset, r.source, name) for r in book for name in r.metrics
    ]
    assert len(set(told)) == len(told)
    (adm,) = [record for record in book if record.model == "admnet_guided_upsampled"]
    assert adm.metrics["gfid"] == 3.9426
    assert adm.num_images == 50000


def test_same_protocol_and_number_stand_side_by_side(make_report: Callable[..., Report]) -> None:
    made = beside_published(report(make_report), "imagenet-val", ["f64c128"])
    told = {item.metric: item for item in made.beside}
    assert set(told) == {"psnr", "rfid"}
    assert (told["psnr"].theirs, told["psnr"].verdict) == (26.149, "ours is better")
    assert (told["rfid"].theirs, told["rfid"].verdict) == (0.2168, "inside our interval")
    assert any("other protocols" in why for why in made.refused.values())  # the same model at 256
    assert "26.149 of DC-AE f64c128 in: ours is better" in made.summary()
    assert json.loads(made.to_text())["dataset"] == "imagenet-val"


@pytest.mark.parametrize(
    ("name", "resolution", "n", "reason"),
    [
        ("canon-v1", 512, 50000, "other protocols: canon-v1"),
        ("dc-ae", 256, 50000, "other protocols: dc-ae"),
        ("dc-ae", 512, 5000, "other numbers of pictures: 5000 / 50000"),
    ],
)
def test_others_are_refused_with_the_reason(
    name: str, resolution: int, n: int, reason: str, make_report: Callable[..., Report]
) -> None:
    made = report(make_report, name, resolution, n)
    (record,) = [item for item in read_book() if item.metrics.get("rfid") == 0.2168]
    assert reason in " ".join(why_not_beside(made, record))
    with pytest.raises(EvaluationError, match="no published number may stand beside"):
        beside_published(made, "imagenet-val", ["SD-VAE f64"])


def test_what_the_source_does_not_tell_is_never_compared(make_report: Callable[..., Report]) -> None:
    made = report(make_report, "ldm", 256)
    ldm = next(record for record in read_book() if record.protocol == "ldm")
    assert why_not_beside(made, ldm) == ["its source does not tell the number of pictures"]
    untold = next(record for record in read_book() if not record.protocol)
    assert "its protocol is not told" in why_not_beside(made, untold)[0]
    video = next(record for record in read_book() if record.protocol == "vidtok")
    assert "vidtok is no protocol of pictures here" in why_not_beside(made, video)


def test_command(
    make_report: Callable[..., Report], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "report.json", report(make_report).to_text())
    out = tmp_path / "beside.json"
    main([str(tmp_path), "--published", "dataset=imagenet-val", "model=DC-AE f64c128", f"out={out}"])
    assert "0.2168 of DC-AE f64c128 in: inside our interval" in capsys.readouterr().out
    assert json.loads(out.read_text())["beside"]
    for wrong, sentence in (
        (["--published"], "dataset=NAME"),
        (["--published", "dataset=cifar"], "the book has"),
        (["--published", "dataset=imagenet-val", "model=nothing like it"], "none of the book's records"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([str(tmp_path), *wrong])
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err
