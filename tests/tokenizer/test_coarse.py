"""Coarse labels: a bijection, tight clusters found, refusals, a file and back, and what an exchange costs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tokenizer.coarse import CoarseLabels, cluster, codes_of, exchange, main
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import save_folder
from tokenizer.loading import load
from tokenizer.model import Autoencoder
from tokenizer.stats import StatsData

BACKBONE = {
    "kind": "dcae",
    "latent_channels": 4,
    "widths": [8, 8],
    "encoder_depths": [0, 1],
    "decoder_depths": [0, 1],
    "blocks": ["res", "res"],
    "decoder_norms": ["rms", "rms"],
    "decoder_activations": ["silu", "silu"],
}


def build(bottleneck: dict[str, object]) -> Autoencoder:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": BACKBONE, "bottleneck": bottleneck}).build().eval()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    return model


def clouds(per_cloud: int = 5) -> torch.Tensor:
    """Four tight clouds of codes, in turns: code i belongs to cloud i mod 4."""
    generator = torch.Generator().manual_seed(0)
    return 5 * torch.eye(4).repeat(per_cloud, 1) + 0.1 * torch.randn(4 * per_cloud, 4, generator=generator)


def labelled(codes: torch.Tensor, clusters: int) -> CoarseLabels:
    return CoarseLabels(*cluster(codes, clusters), spec_id="ab")


def test_clouds_become_clusters_and_the_middle_of_each_comes_first() -> None:
    codes = clouds()
    labels = labelled(codes, 4)
    assert labels.sizes.tolist() == [5, 5, 5, 5]
    for cloud in range(4):
        own = torch.arange(cloud, 20, 4)
        assert len(labels.coarse[own].unique()) == 1
        centre = codes[own].mean(dim=0)
        nearest = own[(codes[own] - centre).square().sum(dim=1).argmin()]
        assert labels.fine[nearest] == 0
        assert nearest in labels.centres()


def test_index_and_label_are_one_to_one() -> None:
    labels = labelled(torch.randn(37, 3, generator=torch.Generator().manual_seed(1)), 6)
    indices = torch.arange(37).view(1, 37)
    coarse, fine = labels.split(indices)
    assert torch.equal(labels.join(coarse, fine), indices)
    assert torch.equal(labels.coarse_of(indices), coarse)
    allowed = labels.members_of(torch.arange(labels.num_clusters))
    assert torch.equal(allowed.sum(dim=1), labels.sizes)
    assert allowed.gather(0, coarse).all()
    with pytest.raises(ValueError, match="beyond the end of its cluster"):
        labels.join(torch.tensor([0]), labels.sizes[:1])


def test_equal_codes_leave_no_empty_cluster() -> None:
    codes = torch.tensor([[0.0], [0.0], [0.0], [1.0]]).expand(-1, 2)
    labels = labelled(codes, 3)
    assert labels.num_clusters == 2
    assert sorted(labels.sizes.tolist()) == [1, 3]
    with pytest.raises(ValueError, match="clusters must be 1 to 3"):
        cluster(codes, 4)


def test_codes_are_what_the_decoder_reads() -> None:
    model = build({"kind": "vq", "codebook_size": 16})
    assert torch.equal(codes_of(model), model.bottleneck.codebook)
    fsq = build({"kind": "fsq", "levels": [3, 3, 3, 3]})
    assert codes_of(fsq).shape == (81, 4)
    assert len(codes_of(fsq).unique(dim=0)) == 81


def test_latents_without_one_code_a_position_are_refused() -> None:
    with pytest.raises(ValueError, match="continuous"):
        codes_of(build({"kind": "identity"}))
    with pytest.raises(ValueError, match="several codebooks or scales"):
        codes_of(build({"kind": "residual_vq", "codebook_size": 8, "num_codebooks": 2}))
    with pytest.raises(ValueError, match="another code at another position"):
        codes_of(build({"kind": "token_vq", "tokens": 64, "codebook_size": 8}))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_an_exchange_within_tight_clusters_costs_less_than_any(photographs: Path) -> None:
    model = build({"kind": "vq", "codebook_size": 20, "update": "ema"})
    model.bottleneck.book.codebook.copy_(clouds() / 5)
    labels = labelled(codes_of(model), 4)
    data = StatsData(path=photographs, resolution=16, num_images=3, batch=2, num_workers=0)
    found = exchange(model, labels, data)
    assert found.codes == pytest.approx(found.same_cluster, abs=0.5)
    assert found.codes == pytest.approx(found.centre, abs=0.5)
    again = exchange(model, labels, data)
    assert again == found


def test_the_command_writes_labels_that_belong_to_one_tokenizer(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build({"kind": "vq", "codebook_size": 16})
    config = TokenizerConfig.parse({"backbone": BACKBONE, "bottleneck": {"kind": "vq", "codebook_size": 16}})
    tree = {
        "format": 1,
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": None,
    }
    save_folder(tmp_path / "model", tree, {"model": model.state_dict()})
    out = tmp_path / "labels.safetensors"
    arguments = [f"source={tmp_path / 'model'}", "clusters=4", f"out={out}", "device=cpu"]
    main([*arguments, f"data.path={photographs}", "data.resolution=16", "data.num_workers=0"])
    told = json.loads(capsys.readouterr().out.split(": ", 1)[1])
    assert (told["codes"], told["clusters"]) == (16, 4)
    assert told["psnr_codes"] >= told["psnr_any_code"] - 1
    spec_id = load(tmp_path / "model").spec_id
    labels = CoarseLabels.load(out, spec_id)
    assert labels.num_clusters == 4
    with pytest.raises(ValueError, match="this tokenizer is 0123"):
        CoarseLabels.load(out, "0123")
    with pytest.raises(SystemExit):
        main([f"source={tmp_path / 'model'}", "clusters=16", f"out={out}", "device=cpu"])
    assert "clusters must be 1 to 15" in capsys.readouterr().err
