"""What a run starts from."""

import pytest
import torch
from torch import nn

from tokenizer.core.run import autocast, compile_modules, crossed, refuse_changes


def test_crossed() -> None:
    assert crossed(0, 10, 10)
    assert not crossed(10, 19, 10)
    assert crossed(16, 32, 20)
    assert not crossed(0, 100, 0)


def test_autocast_only_for_bf16() -> None:
    weight, x = torch.ones(2, 2), torch.ones(2, 2)
    with autocast(torch.device("cpu"), "bf16"):
        assert (x @ weight).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "fp32"):
        assert (x @ weight).dtype == torch.float32


def test_a_run_goes_on_only_as_it_began() -> None:
    saved = {"optim": {"lr": 1e-4}, "phases": [{"batch": 4}], "out": "a"}
    refuse_changes(saved, saved | {"out": "b"}, ["out"])
    with pytest.raises(ValueError, match=r"phases\.0\.batch=4, not 8"):
        refuse_changes(saved, saved | {"phases": [{"batch": 8}]}, ["out"])
    with pytest.raises(ValueError, match=r"out='a', not 'b'"):
        refuse_changes(saved, saved | {"out": "b"}, [])


@pytest.mark.slow
@pytest.mark.timeout(600)  # a compiler runs
def test_compiled_modules_give_more_than_one_gradient_and_one_stands_apart() -> None:
    torch.manual_seed(0)
    last = nn.Linear(4, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), last)
    x = torch.randn(5, 3)
    want = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    compile_modules(model, apart=last)
    y = model(x)
    for outer in (torch.ones_like(y), 2 * torch.ones_like(y)):
        (found,) = torch.autograd.grad(y, last.weight, outer, retain_graph=True)
        assert found.abs().sum() > 0
    y.square().sum().backward()
    for parameter, gradient in zip(model.parameters(), want, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
