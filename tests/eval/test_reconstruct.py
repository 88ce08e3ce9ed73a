"""The job from end to end on a tiny tokenizer and pictures made here."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from eval import one_pass, reconstruct
from eval.data import read_crop
from eval.errors import EvaluationError
from eval.metrics import METRICS
from eval.metrics.psnr import PSNR, decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from eval.reconstruct import prepare, run
from eval.report import Computed, Report, read_report
from eval.round_trip import RoundTrip, with_any_statistics
from eval.settings import ReconstructConfig
from eval.weights import WeightsRecord
from tokenizer.data.folder import PictureFile
from tokenizer.loading import load


def config(tokenizer: Path, pictures: Path, out: Path, **changes: object) -> ReconstructConfig:
    tree = {
        "tokenizer": str(tokenizer),
        "data": {"path": str(pictures), "resolution": 32},
        "out": str(out),
        "device": "cpu",
        "batch_size": 3,
    }
    return ReconstructConfig.parse(tree | changes)


def test_command_without_a_preset(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    reconstruct.main(
        [f"tokenizer={tokenizer_folder}", f"data.path={pictures_folder}", "data.resolution=32", f"out={out}"]
    )
    tree = json.loads((out / "report.json").read_text())
    assert tree["protocol"]["name"] == "canon-v1"
    assert tree["protocol"]["settings"]["resolution"] == 32
    assert tree["num_images"] == 8
    assert tree["tokenizer"]["spec_id"] == load(tokenizer_folder).spec_id
    assert set(tree["metrics"]["rfid"]) == {"not_computed", "put"}
    low, high = tree["metrics"]["psnr"]["ci95"]
    assert low <= tree["metrics"]["psnr"]["value"] <= high
    assert tree["bits_per_pixel"] == 4 * 16 / 16  # 4 channels of 16 bits at a sixteenth of the positions
    assert tree["compression_ratio"] == 6.0
    assert tree["images_per_s"] > 0
    assert Report.parse(tree).to_text() == (out / "report.json").read_text()
    assert tree["protocol"]["hash"] in capsys.readouterr().out
    page = (out / "report.html").read_text()
    for shown in ("Worst by PSNR", "Middle", "Best", "original", "reconstruction", "error, white from 64"):
        assert shown in page


def test_psnr_is_that_of_each_picture_encoded_alone(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    report = run(config(tokenizer_folder, pictures_folder, tmp_path))
    tokenizer = load(tokenizer_folder)
    with (tmp_path / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = []
    for row in rows:
        real = read_crop(PictureFile(pictures_folder / row["file"], row["file"]), 32)[0].unsqueeze(0)
        with torch.inference_mode():
            fake = to_uint8(tokenizer.decode(tokenizer.encode(from_uint8(real))))
        values.append(decibels(mean_squared_error(real, fake)).item())
    assert len(rows) == 8
    assert [float(row["psnr"]) for row in rows] == pytest.approx(values, abs=0.02)
    tree = json.loads(report.to_text())
    assert tree["metrics"]["psnr"]["value"] == pytest.approx(sum(values) / 8, abs=0.02)


def test_options_reach_the_job(tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path) -> None:
    data = {"path": str(pictures_folder), "resolution": 32, "max_images": 2}
    report = run(
        config(
            tokenizer_folder,
            pictures_folder,
            tmp_path,
            data=data,
            dtype="bfloat16",
            metrics=["psnr"],
            tiles={"tile": 16, "overlap": 4},
            gallery=1,
        )
    )
    assert (report.num_images, report.data.num_found) == (2, 8)
    assert report.tokenizer.dtype == "bfloat16"
    assert report.tokenizer.tiles == "16 pixels, overlap 4"
    assert list(report.metrics) == ["psnr"]


def test_a_report_holds_latents_slices_and_what_was_asked_for(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    probes = {
        "max_images": 4, "generations": 1, "steps": [1.0], "codecs": ["jpeg"], "batch_sizes": [1], "repeats": 2
    }  # fmt: skip
    asked = {"health": True, "rate": True, "cost": True, "probes": probes, "slices": {"dogs": "dog"}}
    asked |= {"metrics": ["psnr"], "also": ["dc-ae"]}
    report = run(config(tokenizer_folder, pictures_folder, tmp_path, **asked))
    with (tmp_path / "per_image.csv").open() as file:
        dogs = [float(row["psnr"]) for row in csv.DictReader(file) if row["file"].startswith("dog/")]
    assert report.slices["dogs"]["psnr"].value == pytest.approx(sum(dogs) / 4, abs=1e-3)
    assert report.latents is not None
    assert report.latents.normalised
    assert report.latents.parts[0].count == 8 * 8 * 8
    assert report.health is not None
    assert report.cost is not None
    assert report.rate is not None
    assert (tmp_path / report.rate.points[0].file).is_file()
    page = (tmp_path / "report.html").read_text()
    for title in ("Slices", "Rate and distortion", "Latents", "Health under change", "Cost"):
        assert f"<h2>{title}</h2>" in page
    for name in ("report.csv", "report.md", "report.tex"):
        assert report.protocol.hash in (tmp_path / name).read_text()
        assert "dogs" in (tmp_path / name).read_text()
    other = read_report(tmp_path / "dc-ae")
    assert other.latents == report.latents
    assert (other.health, other.rate, other.cost) == (None, None, None)
    with pytest.raises(EvaluationError, match=r"slices\.birds"):
        prepare(config(tokenizer_folder, pictures_folder, tmp_path, slices={"birds": "bird"}))


def test_a_tokenizer_without_statistics_gives_the_same_numbers(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    """Evaluating in the middle of training needs no pass over the data first."""
    job = prepare(config(tokenizer_folder, pictures_folder, tmp_path))
    real = read_crop(PictureFile(pictures_folder / "cat" / "0.png", "0.png"), 32)[0].unsqueeze(0)
    expected = one_pass.reconstruct(job, real, 0).fake
    tokenizer = load(tokenizer_folder)
    tokenizer.spec = tokenizer.spec.with_statistics(None)
    with_any_statistics(tokenizer)
    job.tokenizer = tokenizer
    fake = one_pass.reconstruct(job, real, 0).fake
    assert (fake.int() - expected.int()).abs().max() <= 1


def test_corrupt_pictures_fail_or_are_counted_under_another_hash(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, file in enumerate(sorted(pictures_folder.rglob("*.png"))[:3]):
        (folder / f"{index}.png").write_bytes(file.read_bytes())
    (folder / "broken.png").write_bytes(b"not a picture")
    data = {"path": str(folder), "resolution": 32}
    with pytest.raises(EvaluationError, match=r"broken\.png"):
        run(config(tokenizer_folder, folder, tmp_path, data=data))
    report = run(config(tokenizer_folder, folder, tmp_path, data=data | {"on_corrupt": "skip"}))
    assert (report.num_images, report.data.num_found) == (3, 4)
    assert "broken.png" in report.data.skipped[0]
    whole = run(config(tokenizer_folder, pictures_folder, tmp_path))
    assert report.protocol.hash != whole.protocol.hash
    (folder / "broken.png").rename(tmp_path / "alone.png")
    only = tmp_path / "only"
    only.mkdir()
    (tmp_path / "alone.png").rename(only / "alone.png")
    with pytest.raises(EvaluationError, match="none of the 1 pictures"):
        run(
            config(
                tokenizer_folder,
                only,
                tmp_path,
                data={"path": str(only), "resolution": 32, "on_corrupt": "skip"},
            )
        )


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.path=no/such/folder", "not a folder"),
        ("tokenizer=no-such-model", "no tokenizer 'no-such-model'"),
        ("protocol=canon", "canon-v1"),
        ("metrics=[fid]", "psnr, ssim"),
        ("device=gpu", "use auto, cpu"),
        ("weights.folder=no/such/folder", "no such folder"),
        ("data.resolution=8", "at least 16"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    argument: str,
    sentence: str,
    tokenizer_folder: Path,
    pictures_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = {
        "tokenizer": str(tokenizer_folder),
        "data.path": str(pictures_folder),
        "data.resolution": "32",
        "out": str(tmp_path),
    }
    key, _, value = argument.partition("=")
    with pytest.raises(SystemExit) as stopped:
        reconstruct.main([f"{key}={value}" for key, value in (arguments | {key: value}).items()])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_model_that_gives_nan_is_named(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    job = prepare(config(tokenizer_folder, pictures_folder, tmp_path))
    assert isinstance(job.tokenizer, torch.nn.Module)
    next(iter(job.tokenizer.parameters())).data.fill_(float("nan"))
    with pytest.raises(EvaluationError, match="NaN"):
        one_pass.measure(job, one_pass.shards_of(job))


def test_protocols_of_one_crop_share_a_pass(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    once = one_pass.reconstruct

    def counted(job: one_pass.Job, real: torch.Tensor, number: int) -> RoundTrip:
        calls.append(len(real))
        return once(job, real, number)

    monkeypatch.setattr(one_pass, "reconstruct", counted)
    config_of = {"also": ["llamagen", "llamagen-fixed", "dc-ae"], "gallery": 1}
    run(config(tokenizer_folder, pictures_folder, tmp_path / "many", **config_of))
    assert sum(calls) == 8  # what the pages show is made once more, elsewhere
    alone = run(config(tokenizer_folder, pictures_folder, tmp_path / "alone", protocol="llamagen"))
    shared = Report.parse(json.loads((tmp_path / "many" / "llamagen" / "report.json").read_text()))
    assert shared.protocol == alone.protocol
    assert shared.metrics == alone.metrics
    assert shared.data == alone.data
    ssim = {
        name: json.loads((tmp_path / "many" / name / "report.json").read_text())["metrics"]["ssim"]["value"]
        for name in ("", "llamagen", "llamagen-fixed", "dc-ae")
    }
    assert len(set(ssim.values())) == 4
    assert ssim["llamagen"] > ssim["llamagen-fixed"]


def test_protocols_of_other_pictures_are_refused(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    for also, sentence in (
        (["open-magvit2"], "crop pil_bilinear"),
        (["dc-ae", "dc-ae"], "each protocol once"),
        (["adm-gfid"], "use eval.generate"),
    ):
        with pytest.raises(EvaluationError, match=sentence):
            prepare(config(tokenizer_folder, pictures_folder, tmp_path, also=also))


@pytest.mark.parametrize("name", ["ldm", "vavae", "open-magvit2", "bsq"])
def test_every_kind_of_crop_and_posterior_runs(
    name: str, tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    report = run(config(tokenizer_folder, pictures_folder, tmp_path, protocol=name, gallery=1))
    assert report.protocol.name == name
    assert isinstance(report.metrics["psnr"], Computed)
    canon = run(config(tokenizer_folder, pictures_folder, tmp_path / "canon", gallery=1))
    assert report.data.content != canon.data.content  # other crops are other pictures
    again = run(config(tokenizer_folder, pictures_folder, tmp_path / "again", protocol=name, gallery=1))
    assert again.metrics == report.metrics


def test_a_required_metric_that_is_missing_fails_before_anything_is_measured(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match="rfid: needs pt_inception"):
        run(config(tokenizer_folder, pictures_folder, tmp_path / "a", require=["psnr", "rfid"]))
    assert not (tmp_path / "a" / "report.json").exists()
    run(config(tokenizer_folder, pictures_folder, tmp_path / "b", require=["psnr", "ssim"]))


def test_a_required_metric_over_other_weights_fails_after_its_report_is_written(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = WeightsRecord("inception", "mine.pth", "00ff", verified=False)

    class Wrong(PSNR):
        weights = (wrong,)

    monkeypatch.setitem(METRICS, "rfid", lambda protocol, *_: Wrong(protocol))
    with pytest.raises(EvaluationError, match="rfid: needs the published pt_inception"):
        run(config(tokenizer_folder, pictures_folder, tmp_path, require=["rfid"]))
    assert "rfid_unverified" in (tmp_path / "report.json").read_text()


def test_odd_sizes_work(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(2):
        Image.linear_gradient("L").resize((37 + index, 37)).convert("RGB").save(folder / f"{index}.png")
    report = run(config(tokenizer_folder, folder, tmp_path, data={"path": str(folder)}))
    assert report.data.resolution == 37


def test_presets_are_valid() -> None:
    for file in sorted(reconstruct.PRESETS.glob("*.yaml")):
        ReconstructConfig.load(file, ["tokenizer=demo", "data.path=pictures", "out=out"])
