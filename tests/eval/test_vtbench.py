"""VTBench: its script's numbers on small folders, its layout, and its three tasks over a tiny tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchvision import transforms

from eval.errors import EvaluationError
from eval.metrics import text
from eval.metrics.lpips import LPIPS
from eval.pixels import as_seen, from_uint8
from eval.protocols import protocol
from eval.report import Computed, NotComputed
from eval.vtbench import TASKS, VTBenchConfig, found_sets, main, measure_pairs, run
from eval.weights import WeightsConfig

CPU = torch.device("cpu")
COUNT = 9  # a batch of eight and one more


def smooth(seed: int, width: int, height: int) -> np.ndarray:
    """Fine enough that filters differ, and neither black nor white anywhere."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).clip(2, 252)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What VTBench's main.py leaves behind: PNGs of equal names, of the model's own size."""
    root = tmp_path_factory.mktemp("results")
    draw = np.random.default_rng(0)
    for side in ("original_images", "reconstructed_images"):
        (root / side).mkdir()
    for index in range(COUNT):
        real = smooth(index, 96, 96)
        noise = draw.normal(0, 2 + index, real.shape)
        fake = (real + noise).clip(2, 252).astype(np.uint8)
        Image.fromarray(real.astype(np.uint8)).save(root / "original_images" / f"{index:08d}.png")
        Image.fromarray(fake).save(root / "reconstructed_images" / f"{index:08d}.png")
    return root


def as_vtbench_reads(pairs: Path) -> tuple[Tensor, Tensor]:
    """Both sides by its transform: Resize to 256 by 256 of the PIL picture, ToTensor."""
    transform = transforms.Compose([transforms.Resize((256, 256)), transforms.ToTensor()])
    sides = []
    for side in ("original_images", "reconstructed_images"):
        files = sorted((pairs / side).iterdir())
        sides.append(torch.stack([transform(Image.open(path).convert("RGB")) for path in files]))
    return sides[0], sides[1]


def config(tmp_path: Path, **more: object) -> VTBenchConfig:
    return VTBenchConfig.parse({"out": tmp_path, "device": "cpu", **more})


def test_numbers_of_the_published_script(pairs: Path, tmp_path: Path) -> None:
    """Its metric objects without arguments, fed batches of eight; PSNR's range as torchmetrics before 1.8 found it."""
    real, fake = as_vtbench_reads(pairs)
    theirs_psnr = PeakSignalNoiseRatio(
        data_range=float(real.max())
    )  # min_target begins at 0, max_target at 0
    theirs_ssim = StructuralSimilarityIndexMeasure()
    for first in range(0, COUNT, 8):
        theirs_psnr.update(fake[first : first + 8], real[first : first + 8])
        theirs_ssim.update(fake[first : first + 8], real[first : first + 8])
    made = measure_pairs(config(tmp_path, pairs=pairs, metrics=("psnr", "ssim"), batch_size=4), pairs)
    psnr, ssim = made.metrics["psnr"], made.metrics["ssim"]
    assert isinstance(psnr, Computed)
    assert isinstance(ssim, Computed)
    assert psnr.value == pytest.approx(theirs_psnr.compute().item(), abs=1e-4)
    assert ssim.value == pytest.approx(theirs_ssim.compute().item(), abs=1e-4)  # theirs is float32
    assert psnr.ci95[0] <= psnr.value <= psnr.ci95[1]
    mended = measure_pairs(
        config(tmp_path, pairs=pairs, metrics=("psnr", "ssim"), protocol="vtbench-fixed"), pairs
    )
    right = mended.metrics["psnr"], mended.metrics["ssim"]
    assert isinstance(right[0], Computed)
    assert isinstance(right[1], Computed)
    assert abs(right[0].value - psnr.value) > 0.5
    assert abs(right[1].value - ssim.value) > 1e-5


def test_bytes_and_ranges_that_the_other_metrics_see(pairs: Path) -> None:
    """FID gets (x * 255) as bytes, LPIPS [0, 1] although its network wants [-1, 1]."""
    real, _ = as_vtbench_reads(pairs)
    files = sorted((pairs / "original_images").iterdir())
    data = [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in files]
    seen = as_seen(torch.stack(data), "round_uint8_then_256", "uint8")
    assert torch.equal(seen, (real * 255).clamp(0, 255).to(torch.uint8))

    class Range(torch.nn.Module):
        def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
            return x.flatten(1).amin(dim=1) + x_hat.flatten(1).amax(dim=1)

    metric = LPIPS(protocol("vtbench", 256), Range(), (), CPU)
    metric.update(seen, seen)
    expected = real.flatten(1).amin(dim=1) + real.flatten(1).amax(dim=1)
    assert metric.compute().per_image == pytest.approx(expected.tolist(), abs=1e-6)
    fixed = LPIPS(protocol("vtbench-fixed", 256), Range(), (), CPU)
    fixed.update(seen, seen)
    assert min(fixed.compute().per_image) < min(metric.compute().per_image)


def test_pngs_are_truncated_as_its_tensor_to_pil_does() -> None:
    """Originals are scaled in float64 and rounded to float32, which moves other levels than float32 throughout."""
    levels = np.arange(256, dtype=np.uint8)
    scaled = (levels / 255.0 * 2 - 1).astype(np.float32)
    theirs = ((scaled + np.float32(1)) / np.float32(2) * np.float32(255)).astype(np.uint8)
    ramp = torch.from_numpy(levels).view(1, 1, 1, 256).repeat(1, 3, 256, 1)
    made = as_seen(ramp, "truncate_uint8_then_256", "uint8")
    assert made[0, 0, 0].numpy().tolist() == theirs.tolist()
    assert (made[0, 0, 0] != ramp[0, 0, 0]).sum() == 95
    assert torch.equal(as_seen(from_uint8(ramp), "round_uint8_then_256", "uint8"), ramp)


class Reader:
    """Reads the picture's mean grey level."""

    records = ()

    def __call__(self, pictures: Tensor) -> tuple[str, ...]:
        return tuple(f"level {int(picture.float().mean())}" for picture in pictures)


def test_text_errors_of_the_published_script(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Characters over characters; and characters, again, over words."""
    monkeypatch.setattr(text, "load_reader", lambda *_: Reader())
    made = measure_pairs(config(tmp_path, pairs=pairs, metrics=("text_cer", "text_wer")), pairs)
    real, fake = as_vtbench_reads(pairs)
    reader = Reader()
    errors = characters = words = 0
    for x, y in zip(real, fake, strict=True):
        target = reader((x * 255).byte().unsqueeze(0))[0]
        read = reader((y * 255).byte().unsqueeze(0))[0]
        errors += sum(a != b for a, b in zip(target, read, strict=True))  # all are of one length here
        characters += len(target)
        words += len(target.split())
    assert errors > 0
    values = [entry.value for entry in made.metrics.values() if isinstance(entry, Computed)]
    assert values == pytest.approx([errors / characters, errors / words])


def test_folders_are_found_in_its_layout(tmp_path: Path) -> None:
    for name in ("task3-multilingual/Korean", "task1-imagenet/val", "other/test"):
        (tmp_path / name).mkdir(parents=True)
    assert list(found_sets(tmp_path)) == ["task1-imagenet/val", "task3-multilingual/Korean"]
    assert list(found_sets(tmp_path, ["task1-imagenet"])) == ["task1-imagenet/val"]
    with pytest.raises(EvaluationError, match="lacks task3-multilingual/Chinese"):
        found_sets(tmp_path, ["task3-multilingual"])
    with pytest.raises(EvaluationError, match="VTBench has task1-imagenet/val"):
        found_sets(tmp_path, ["task4"])
    with pytest.raises(EvaluationError, match="none of VTBench"):
        found_sets(tmp_path / "other")
    assert {task.split("-")[0] for task in TASKS} == {"task1", "task2", "task3"}


def test_three_tasks_over_a_tokenizer(
    tokenizer_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(text, "load_reader", lambda *_: Reader())
    names = ("task1-imagenet/val", "task2-detail-preservation/test", "task3-movie-posters/test")
    for number, name in enumerate(names):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            picture = smooth(5 * number + index, 52, 40).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "data" / name / f"{index}.png")
    out = tmp_path / "out"
    main(
        [
            f"tokenizer={tokenizer_folder}",
            f"data={tmp_path / 'data'}",
            f"out={out}",
            "resolution=32",
            "device=cpu",
        ]
    )
    printed = capsys.readouterr().out
    told = json.loads((out / "vtbench.json").read_text())
    assert [item["name"] for item in told["sets"]] == list(names)
    assert [item["num_images"] for item in told["sets"]] == [2, 2, 2]
    assert told["protocol"]["hash"] == protocol("vtbench", 32).hash
    metrics = [set(item["metrics"]) for item in told["sets"]]
    assert metrics[0] == metrics[1] == {"psnr", "ssim", "lpips_alex", "rfid"}
    assert metrics[2] == metrics[0] | {"text_cer", "text_wer"}
    assert all("value" in item["metrics"]["psnr"] for item in told["sets"])
    assert "value" in told["sets"][2]["metrics"]["text_wer"]
    assert "not_computed" in told["sets"][0]["metrics"]["rfid"]
    assert "| task2-detail-preservation/test | 2 |" in printed
    assert printed == (out / "vtbench.md").read_text()
    assert (out / "task3-movie-posters" / "test" / "report.html").is_file()


def test_pairs_that_do_not_match_are_refused(pairs: Path, tmp_path: Path) -> None:
    for side in ("original_images", "reconstructed_images"):
        (tmp_path / side).mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "original_images" / "0.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "reconstructed_images" / "1.png")
    with pytest.raises(EvaluationError, match="0.png lies on one side only"):
        measure_pairs(config(tmp_path, pairs=tmp_path, metrics=("psnr",)), tmp_path)
    (tmp_path / "reconstructed_images" / "0.png").write_bytes(b"no picture")
    (tmp_path / "reconstructed_images" / "1.png").unlink()
    with pytest.raises(EvaluationError, match="0.png cannot be read"):
        measure_pairs(config(tmp_path, pairs=tmp_path, metrics=("psnr",)), tmp_path)
    with pytest.raises(EvaluationError, match="either tokenizer=SOURCE and data=DIR, or pairs=DIR"):
        run(config(tmp_path))
    with pytest.raises(EvaluationError, match="no such folder"):
        run(config(tmp_path, pairs=tmp_path / "nothing"))
    with pytest.raises(EvaluationError, match="required, and not computed: rfid"):
        run(config(tmp_path, pairs=pairs, require=("rfid",), weights=WeightsConfig()))
    made = run(config(tmp_path, pairs=pairs, metrics=("psnr", "rfid")))
    assert isinstance(made.sets[0].metrics["rfid"], NotComputed)
    assert "| - |" in made.table()
