"""What jobs share: one sentence for what does not fit, and what results depend on."""

from pathlib import Path

import pytest
import torch

from eval.data import Pictures
from eval.errors import EvaluationError
from eval.job import build_panels, check_panel, depends, refused, workplace
from eval.settings import ReconstructConfig
from eval.shards import LOCK
from tokenizer.core import locks

CPU = torch.device("cpu")


def config(pictures: Path, out: Path, **changes: object) -> ReconstructConfig:
    tree = {"tokenizer": "demo", "data": {"path": pictures, "resolution": 32}, "out": out}
    return ReconstructConfig.parse(tree | changes)


def test_what_does_not_fit_is_one_kind_of_error() -> None:
    for error in (ValueError("no such protocol"), FileNotFoundError("no such protocol")):
        with pytest.raises(EvaluationError, match="no such protocol"), refused():
            raise error
    with pytest.raises(KeyError), refused():
        raise KeyError  # a fault of ours


def test_panels_of_protocols_and_what_they_lack(pictures_folder: Path, tmp_path: Path) -> None:
    asked = config(pictures_folder, tmp_path, require=["psnr"])
    panels = build_panels(asked, ["canon-v1", "dc-ae"], 32, lambda named: named.reconstruction, CPU)
    assert [panel.protocol.name for panel in panels] == ["canon-v1", "dc-ae"]
    assert set(panels[0].metrics) == {"psnr", "ssim"}
    check_panel(asked, panels[0])
    chosen = config(pictures_folder, tmp_path, metrics=["psnr"], require=["ssim"])
    (panel,) = build_panels(chosen, ["canon-v1"], 32, lambda named: named.reconstruction, CPU)
    assert panel.names == ("psnr",)
    with pytest.raises(EvaluationError, match="ssim: not among"):
        check_panel(chosen, panel)
    with pytest.raises(ValueError, match="canon-v1"):
        build_panels(asked, ["canon"], 32, lambda named: named.reconstruction, CPU)


def test_results_depend_on_what_changes_them(pictures_folder: Path, tmp_path: Path) -> None:
    def found(**changes: object) -> dict[str, object]:
        asked = config(pictures_folder, tmp_path, **changes)
        panels = build_panels(asked, [asked.protocol], 32, lambda named: named.reconstruction, CPU)
        return depends(asked, CPU, Pictures.open(asked.data), panels)

    usual = found()
    assert found(gallery=2, require=["psnr"]) == usual
    fewer = {"path": pictures_folder, "resolution": 32, "max_images": 4}
    for changes in (
        {"batch_size": 3},
        {"dtype": "bfloat16"},
        {"protocol": "dc-ae"},
        {"metrics": ["psnr"]},
        {"data": fewer},
        {"data": fewer | {"max_images": None, "on_corrupt": "skip"}},
    ):
        assert found(**changes) != usual, changes


def test_a_place_to_work_is_locked(pictures_folder: Path, tmp_path: Path) -> None:
    asked = config(pictures_folder, tmp_path / "out")
    with workplace(asked), pytest.raises(EvaluationError, match="another run"), workplace(asked):
        pytest.fail("two runs in one folder")
    assert not locks.is_held(tmp_path / "out" / LOCK)
