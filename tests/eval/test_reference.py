"""Reference files: ADM's layout, what they serve, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eval.metrics.fid import frechet_score_to_gaussian
from eval.metrics.score import Score
from eval.metrics.sets import Output, SetComparison
from eval.protocols import canon_v1
from eval.reference import Reference
from tokenizer.core.checkpoint import sha256_of

PROTOCOL = canon_v1(16, "fail")
PICTURES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


def metric(output: Output, *, gaussian: bool) -> SetComparison:
    def score(real: torch.Tensor, fake: torch.Tensor) -> Score:
        return Score(0.0, (0.0, 0.0), len(fake))

    def to_gaussian(mean: torch.Tensor, covariance: torch.Tensor, fake: torch.Tensor) -> Score:
        return frechet_score_to_gaussian(PROTOCOL, mean, covariance, fake)

    return SetComparison(
        PROTOCOL,
        lambda x: x.float().mean(dim=(2, 3)),
        (),
        score,
        output=output,
        score_to_gaussian=to_gaussian if gaussian else None,
    )


def write(path: Path, **arrays: np.ndarray) -> Reference:
    np.savez(path, **arrays)
    return Reference.read(path)


def test_statistics_and_pictures_are_read(tmp_path: Path) -> None:
    made = write(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.eye(3, dtype=np.float32), arr_0=PICTURES)
    assert set(made.gaussians) == {"pool"}
    assert made.gaussians["pool"].covariance.dtype == torch.float64
    assert made.num_pictures == 5
    assert made.sha256 == sha256_of(tmp_path / "a.npz")
    assert torch.equal(made.pictures().permute(0, 2, 3, 1), torch.from_numpy(PICTURES))


def test_each_metric_gets_what_it_needs_or_is_told(tmp_path: Path) -> None:
    only = write(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.eye(3))
    both = write(tmp_path / "b.npz", mu=np.zeros(3), sigma=np.eye(3), arr_0=PICTURES)
    distance, spatial, other = (
        metric("pool", gaussian=True),
        metric("spatial", gaussian=True),
        metric("pool", gaussian=False),
    )
    assert only.serve(distance) is None
    assert not distance.needs_real
    for made in (spatial, other):
        assert "holds no pictures" in str(only.serve(made))
        assert both.serve(made) is None
        assert made.needs_real
    with pytest.raises(ValueError, match="needs the pictures"):
        other.refer_to(torch.zeros(3), torch.eye(3))
    distance.update_fake(torch.from_numpy(PICTURES).permute(0, 3, 1, 2))
    assert distance.compute().value > 0


def test_statistics_of_other_features_are_refused(tmp_path: Path) -> None:
    made = metric("pool", gaussian=True)
    write(tmp_path / "a.npz", mu=np.zeros(4), sigma=np.eye(4)).serve(made)
    made.update_fake(torch.from_numpy(PICTURES).permute(0, 3, 1, 2))
    with pytest.raises(ValueError, match="4 features, these pictures 3"):
        made.compute()


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, "do not fit"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "NaN"),
        ({"arr_0": PICTURES.astype(np.float32)}, "uint8"),
        ({"arr_0": PICTURES.transpose(0, 3, 1, 2)}, "uint8"),
        ({"other": np.zeros(3)}, "neither statistics"),
    ],
)
def test_wrong_files_are_refused(arrays: dict[str, np.ndarray], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        write(tmp_path / "a.npz", **arrays)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, mu=np.array([Path("x")], dtype=object), sigma=np.eye(1), allow_pickle=True)
    with pytest.raises(ValueError, match=r"allow_pickle|not an npz"):
        Reference.read(path)
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(ValueError, match=r"not an npz|pickle"):
        Reference.read(tmp_path / "text.npz")
    with pytest.raises(ValueError, match="not an npz"):
        Reference.read(tmp_path / "nothing.npz")
