"""Signatures read from source are those of the imported classes."""

import inspect
import subprocess
import sys

import diffusers
import pytest

from service.registry.signatures import REQUIRED, modules_with_components, signature_of


@pytest.mark.parametrize("name", ["DiTPipeline", "LDMTextToImagePipeline", "ConsistencyModelPipeline"])
def test_names_and_defaults_are_those_of_the_class(name: str) -> None:
    parameters = dict(inspect.signature(getattr(diffusers, name).__call__).parameters)
    del parameters["self"]
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    expected = {key: value.default for key, value in parameters.items() if value.kind not in kinds}
    found = signature_of(name)
    assert found.keys() == expected.keys()
    for key, default in expected.items():
        assert found[key] is REQUIRED if default is inspect.Parameter.empty else found[key] == default


def test_a_class_without_a_call_of_its_own_has_its_bases() -> None:
    assert signature_of("StableDiffusionXLPipeline")["guidance_scale"] == 5.0
    assert "prompt" in signature_of("IFPipeline")
    assert signature_of("VersatileDiffusionTextToImagePipeline")["guidance_scale"] == 7.5


@pytest.mark.parametrize("name", ["", "os", "DiffusionPipelinez", "SanaPipeline()"])
def test_unknown_ones_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no pipeline"):
        signature_of(name)


def test_components_come_from_few_libraries() -> None:
    known = modules_with_components()
    assert {"diffusers", "transformers", "stable_diffusion"} <= known
    assert not {"os", "builtins", "torch", "subprocess"} & known


def test_it_imports_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys; from service.registry.signatures import signature_of; signature_of('SanaPipeline');"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
