"""Other conventions: there and back, as diffusers' pipelines scale; tensors as their clients read them."""

import json

import numpy as np
import pytest
import torch

from service.engine.messages import Convention
from service.engine.operations.foreign import from_normalised, tensor_answer, to_normalised, to_unit
from service.errors import NotFinite
from tests.tokenizer.adapters.diffusers.parity import kl
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.spec import Latent, LatentSpec

SPEC = LatentSpec.image(4, 8).with_statistics({"z": ([0.1, -2.0, 3.0, 0.0], [0.5, 2.0, 1.0, 4.0])})
Z = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32))
CONVENTIONS = [
    Convention(),
    Convention(0.18),
    Convention(0.36, 0.12),
    Convention(None, 0.5),
    Convention(own=True),
]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_one_is_the_inverse_of_the_other(convention: Convention) -> None:
    foreign = from_normalised(Z, SPEC, convention)
    torch.testing.assert_close(to_normalised(foreign, SPEC, convention), Z, rtol=1e-5, atol=1e-5)


def test_raw_is_what_the_bottleneck_gives() -> None:
    raw = SPEC.denormalize(Z)
    torch.testing.assert_close(from_normalised(Z, SPEC, Convention()), raw)
    # StableDiffusion3Pipeline: latents / scaling_factor + shift_factor go to the decoder
    theirs = from_normalised(Z, SPEC, Convention(1.5305, 0.0609))
    torch.testing.assert_close(theirs / 1.5305 + 0.0609, raw, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(from_normalised(Z, SPEC, Convention(own=True)), Z)


@pytest.mark.parametrize("factor", [1e-30, 1e-6])
def test_a_factor_of_another_tokenizer_is_refused(factor: float) -> None:
    with pytest.raises(NotFinite, match="scaling_factor"):
        to_normalised(Z, SPEC, Convention(factor))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
def test_tensors_travel_as_the_clients_read_them(dtype: torch.dtype) -> None:
    tensor = (10 * Z).to(dtype) if dtype.is_floating_point else (10 * Z.abs()).to(dtype)
    answer = tensor_answer(7, tensor.transpose(1, 2), {"x-tessera-size": "1,2"})
    read = torch.frombuffer(bytearray(answer.body), dtype=getattr(torch, answer.headers["dtype"]))
    assert torch.equal(read.reshape(json.loads(answer.headers["shape"])), tensor.transpose(1, 2))
    assert (answer.media_type, answer.headers["x-tessera-size"]) == ("tensor/binary", "1,2")


def test_unit_is_clamped_in_its_own_type() -> None:
    x_hat = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.bfloat16)
    assert to_unit(x_hat).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert to_unit(x_hat).dtype == torch.bfloat16


def test_published_factors_apply_to_autoencoders_of_diffusers() -> None:
    """What a pipeline does with their autoencoder and its factors is what ours does with the converted one."""
    theirs = kl(scaling_factor=0.3, shift_factor=0.1).eval()
    ours = from_diffusers(theirs)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 24)).astype(np.float32))
    convention = Convention(0.3, 0.1)
    with torch.inference_mode():
        latents = (theirs.encode(x).latent_dist.mode() - 0.1) * 0.3  # StableDiffusion3Pipeline, both ways
        image = theirs.decode(latents / 0.3 + 0.1).sample
        z = ours.encode(x).z
        torch.testing.assert_close(from_normalised(z, ours.spec, convention), latents, rtol=0, atol=1e-5)
        x_hat = ours.decode(Latent({"z": to_normalised(latents, ours.spec, convention)}, (16, 24)))
    torch.testing.assert_close(x_hat, image, rtol=0, atol=1e-4)
