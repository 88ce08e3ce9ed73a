"""Generators written for use elsewhere."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler

from diffusion.backbones.dit import DiTConfig
from diffusion.export import main
from diffusion.generators.rectified_flow import RectifiedFlow, RectifiedFlowConfig
from diffusion.model_folder import GeneratorRecord, load_denoiser
from tokenizer.core import checkpoint


def write(folder: Path, **model: object) -> Path:
    record = GeneratorRecord(
        model=DiTConfig.parse({"depth": 2, "width": 32, "heads": 4} | model),
        generator=RectifiedFlowConfig(shift=2.0),
        spec_id="0123456789abcdef",
        latent_shape=(4, 4, 4),
        size=(16, 16),
        class_names=("a", "b"),
    )
    torch.manual_seed(0)
    network = record.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    average = {name: value + 0.01 for name, value in network.state_dict().items()}
    tensors = {"model": network.state_dict(), "ema": average, "trainer/optimizer": average}
    checkpoint.save_folder(folder, record.model_dump(mode="json"), tensors)
    return folder


@torch.no_grad()
def test_diffusers_samples_the_same_latents_from_the_export(tmp_path: Path) -> None:
    """Its own scheduler drives its own network; ours starts from the same noise."""
    source = write(tmp_path / "run")
    main([f"source={source}", f"out={tmp_path / 'out'}"])
    theirs = DiTTransformer2DModel.from_pretrained(tmp_path / "out").eval()
    ours, _ = load_denoiser(source)
    eps, y = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1])
    scheduler = FlowMatchEulerDiscreteScheduler()
    times = RectifiedFlow(shift=2.0).times(5)
    scheduler.set_timesteps(sigmas=times[:-1].tolist())
    z = eps
    for timestep in scheduler.timesteps:
        z = scheduler.step(theirs(z, timestep.expand(2), y).sample, timestep, z).prev_sample
    expected = RectifiedFlow(shift=2.0).sample(ours, eps, y, num_steps=5)
    assert float((z - expected).abs().max()) <= 1e-5 * float(expected.max() - expected.min())
    beside = json.loads((tmp_path / "out" / "tessera.json").read_text())
    assert (beside["spec_id"], beside["class_names"]) == ("0123456789abcdef", ["a", "b"])


def test_weights_are_exported_in_the_dtype_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "run")
    main([f"source={source}", f"out={tmp_path / 'half'}", "dtype=bfloat16"])
    half = checkpoint.load_tensors(tmp_path / "half" / "diffusion_pytorch_model.safetensors")
    state = checkpoint.load_tensors(checkpoint.weights_path(source))
    assert {value.dtype for value in half.values()} == {torch.bfloat16}
    assert torch.equal(half["proj_out_2.weight"], state["unembed.weight"].bfloat16())


@pytest.mark.parametrize(
    ("model", "message"), [({}, "exists: remove it first"), ({"rotary": True}, "only the plain DiT exports")]
)
def test_refusals_leave_nothing_behind(
    tmp_path: Path, model: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "run", **model)
    if not model:
        (tmp_path / "out").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        main([f"source={source}", f"out={tmp_path / 'out'}"])
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
