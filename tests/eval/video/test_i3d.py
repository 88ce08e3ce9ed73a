"""I3D: its layers by shape, what it is given, and which files are read or run."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.protocols.video import FVDSettings
from eval.video import i3d
from eval.video.i3d import I3D, VideoWeights, as_network_sees, load_extractor, same
from tests.eval.video.clipping import frames
from tokenizer.core.checkpoint import sha256_of

CPU = torch.device("cpu")


def test_its_layers_have_the_names_and_sizes_of_the_file() -> None:
    with torch.device("meta"):
        network = I3D()
    state = network.state_dict()
    assert state["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)
    assert state["Mixed_4f.b2b.bn.running_var"].shape == (128,)
    assert state["Mixed_5c.b3b.conv3d.weight"].shape == (128, 832, 1, 1, 1)
    assert state["logits.conv3d.bias"].shape == (400,)
    assert round(sum(value.numel() for value in network.parameters()) / 1e6, 1) == 12.7


def test_clips_become_400_logits_from_9_frames_on() -> None:
    with torch.device("meta"):
        network = I3D().eval()
        for count in (9, 16, 17):
            assert network(torch.zeros(1, 3, count, 224, 224)).shape == (1, 400)


@pytest.mark.parametrize(("size", "kernel", "step"), [(7, 3, 2), (8, 3, 2), (9, 7, 2), (5, 2, 2), (4, 1, 1)])
def test_padding_keeps_the_ceiling(size: int, kernel: int, step: int) -> None:
    x = torch.ones(1, 1, size, size, size)
    made = F.max_pool3d(same(x, (kernel,) * 3, (step,) * 3), kernel, step)
    assert made.shape[2:] == (-(-size // step),) * 3


def test_what_it_is_given() -> None:
    x = torch.zeros(2, 3, 30, 60, dtype=torch.uint8)
    x[..., 20:40] = 255
    squeezed = as_network_sees(x, FVDSettings())
    assert squeezed.shape == (1, 3, 2, 224, 224)
    assert (float(squeezed.min()), float(squeezed.max())) == pytest.approx((-1.0, 1.0))
    middle = as_network_sees(x, FVDSettings(resize="short_side", low=-0.5, high=0.5))
    assert (float(middle.min()), float(middle.max())) == pytest.approx((-0.5, 0.5))
    assert float(middle.mean()) == pytest.approx(-0.5 + 2 / 3, abs=0.02)  # of the square that is cut out
    assert float(squeezed.mean()) == pytest.approx(-1 + 2 / 3, abs=0.02)
    assert torch.allclose(squeezed, as_network_sees(x.float() / 127.5 - 1, FVDSettings()), atol=1e-5)


def test_weights_of_another_network_and_missing_ones(tmp_path: Path) -> None:
    with pytest.raises(NotComputedError, match="i3d_pretrained_400.pt"):
        load_extractor("videogpt", VideoWeights(folder=tmp_path), CPU)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "i3d_pretrained_400.pt")
    with pytest.raises(ValueError, match="does not hold the weights of I3D"):
        load_extractor("videogpt", VideoWeights(folder=tmp_path), CPU)
    with pytest.raises(ValueError, match="no such file"):
        load_extractor("videogpt", VideoWeights(i3d_videogpt=tmp_path / "none"), CPU)


class Program(nn.Module):
    """What the published program takes."""

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        return x.mean(dim=[2, 3, 4])


def test_only_the_published_program_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "i3d_torchscript.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Program()).save(str(file))
    with pytest.raises(ValueError, match="only the published one is run"):
        load_extractor("styleganv", VideoWeights(i3d_styleganv=file), CPU)
    monkeypatch.setitem(i3d.SHA256, "styleganv", sha256_of(file))
    extract, record = load_extractor("styleganv", VideoWeights(folder=tmp_path), CPU)
    assert record.verified
    clip = as_network_sees(frames(9), FVDSettings())
    assert torch.allclose(extract(clip), clip.mean(dim=(2, 3, 4)), atol=1e-6)
