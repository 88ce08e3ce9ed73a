"""The comparison with pytorch-fid: equal features of the same files, and a table with both."""

from pathlib import Path

import pytest
import torch

from eval import feature_speed
from eval.feature_speed import FeatureSpeedConfig, apart_by, main, measure, table


@pytest.mark.slow
def test_features_are_pytorch_fids_and_both_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FeatureSpeedConfig(images=3, side=40, batch_size=2, workers=0, repeats=1)
    timings = measure(config)
    assert list(timings) == ["ours", "pytorch-fid"]
    ours, theirs = timings["ours"].features, timings["pytorch-fid"].features
    assert ours.shape == (3, 2048)
    assert apart_by(ours, theirs) <= 1e-5
    assert ours.std() > 0.01
    assert all(timing.images_per_s > 0 and timing.network_images_per_s > 0 for timing in timings.values())
    text = table(config, timings)
    assert "features equal" in text
    wrong = feature_speed.FeatureTiming(1.0, 1.0, theirs + 1.0)
    assert "NOT equal" in table(config, timings | {"ours": wrong})
    monkeypatch.setattr(feature_speed, "measure", lambda config: {"ours": timings["ours"]})
    main(["images=3"])


def test_pictures_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in feature_speed.write_pictures(tmp_path, 2, 32, 0)]
    assert first == [path.read_bytes() for path in feature_speed.write_pictures(tmp_path, 2, 32, 0)]
    assert first[0] != first[1]
    assert torch.equal(feature_speed.random_inception(1).fc.bias, feature_speed.random_inception(1).fc.bias)
