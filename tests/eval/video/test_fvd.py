"""rFVD: zero for equal sets, the Frechet distance of its features, and a protocol's groups."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.frechet import frechet_distance_of_sets
from eval.protocols.video import FVDSettings, video_protocol
from eval.video.fvd import FVD, load_fvd
from eval.video.i3d import I3D, VideoWeights, as_network_sees
from tests.eval.video.clipping import disturbed, frames

PROTOCOL = video_protocol("wfvae-fixed").model_copy(
    update={"interval": video_protocol("wfvae").interval.model_copy(update={"fid_resamples": 3})}
)
SETTINGS = FVDSettings(domain="uint8")
CLIPS = [frames(9, seed=seed) for seed in range(4)]
NOISY = [disturbed(clip, torch.full((9,), 30.0), seed=seed) for seed, clip in enumerate(CLIPS)]


def moments(clips: Tensor) -> Tensor:
    """Six features: mean and deviation of each colour."""
    flat = clips.flatten(2)
    return torch.cat([flat.mean(dim=2), flat.std(dim=2)], dim=1)


def metric(settings: FVDSettings = SETTINGS, extract: Callable[[Tensor], Tensor] = moments) -> FVD:
    return FVD(PROTOCOL, settings, extract, ())


def fill(found: FVD, pieces: int = 9) -> FVD:
    for number, (real, fake) in enumerate(zip(CLIPS, NOISY, strict=True)):
        for a, b in zip(real.split(pieces), fake.split(pieces), strict=True):
            found.update(a, b, number)
    return found


def features(clips: list[Tensor]) -> Tensor:
    return torch.cat([moments(as_network_sees(clip, SETTINGS)) for clip in clips])


def test_it_is_the_distance_of_the_features_in_any_pieces() -> None:
    expected = frechet_distance_of_sets(features(CLIPS), features(NOISY))
    assert expected > 0
    for pieces in (9, 4):
        score = fill(metric(), pieces).compute()
        assert score.value == pytest.approx(expected, rel=1e-6)
        assert score.ci95[0] <= score.value <= score.ci95[1]
        assert score.num_clips == 4
    same = metric()
    for number, clip in enumerate(CLIPS):
        same.update(clip, clip, number)
    assert same.compute().value == pytest.approx(0.0, abs=1e-9)


def test_groups_are_averaged_and_told_not_to_be_rfvd() -> None:
    score = fill(metric(FVDSettings(group=2))).compute()
    pairs = [frechet_distance_of_sets(features(CLIPS[i : i + 2]), features(NOISY[i : i + 2])) for i in (0, 2)]
    assert score.value == pytest.approx(sum(pairs) / 2, rel=1e-6)
    assert "not rFVD" in str(score.details["warning"])


def test_only_the_first_frames_are_seen_where_the_protocol_says_so() -> None:
    seen: list[int] = []

    def extract(clips: Tensor) -> Tensor:
        seen.append(clips.shape[2])
        return moments(clips)

    found = metric(FVDSettings(max_frames=10), extract)
    for number in range(2):
        for _ in range(3):
            found.update(frames(5), frames(5, seed=1), number)
    found.compute()
    assert set(seen) == {10}


def test_too_short_and_too_few() -> None:
    found = metric()
    found.update(frames(8), frames(8), 0)
    with pytest.raises(ValueError, match="at least 9 frames"):
        found.compute()
    alone = metric()
    alone.update(frames(9), frames(9), 0)
    with pytest.raises(NotComputedError, match="at least 2 clips"):
        alone.compute()


def test_the_name_tells_the_network(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = I3D().state_dict()
    tensors = {
        name: torch.randn(value.shape, generator=generator) * 0.02
        if name.endswith("weight") and "conv3d" in name
        else torch.ones(value.shape)
        for name, value in shapes.items()
    }
    torch.save(tensors, tmp_path / "i3d_pretrained_400.pt")
    found = load_fvd(PROTOCOL, VideoWeights(folder=tmp_path), torch.device("cpu"), variant="videogpt")
    assert found.settings.variant == "videogpt"
    assert found.weights[0].name == "i3d_videogpt"
    assert not found.weights[0].verified
    assert found.extract(torch.zeros(1, 3, 9, 224, 224)).shape == (1, 400)
    with pytest.raises(NotComputedError, match="i3d_torchscript.pt"):
        load_fvd(PROTOCOL, VideoWeights(folder=tmp_path), torch.device("cpu"), variant="styleganv")
