"""Cut and joined again, a pass has the gradients that it has whole."""

import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.base import BottleneckOutput
from tokenizer.losses.cut import Cut
from tokenizer.model import StepOutput


def a_pass(x: Tensor) -> tuple[nn.Module, StepOutput]:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)]).double()
    z = model[0](x)
    bottleneck = BottleneckOutput(z=z, loss=z.square().mean())
    penalties = {"eq_vae": z.abs().mean()}
    step = StepOutput(model[1](z.tanh()), z, bottleneck, target=x, penalties=penalties)
    return model, step


def loss_of(step: StepOutput) -> Tensor:
    error = (step.x_hat - step.target).abs().mean()
    return error + 0.3 * step.bottleneck.loss + 0.2 * step.penalties["eq_vae"] + 0.1 * step.z.sin().sum()


def test_gradients_equal_those_of_the_whole_graph() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    whole, step = a_pass(x)
    (loss_of(step) + 0.7 * step.x_hat.square().mean()).backward()
    model, step = a_pass(x)
    cut = Cut(step)
    cut.differentiate(loss_of(cut.step))
    assert all(parameter.grad is None for parameter in model.parameters())
    cut.add(cut.step.x_hat, 0.7 * 2 * step.x_hat.detach() / step.x_hat.numel())
    cut.surrogate().backward()
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-6, atol=1e-9
        )  # the surrogate sums in float32


def test_what_shares_a_tensor_shares_a_leaf() -> None:
    _, step = a_pass(torch.randn(1, 3, 4, 4, dtype=torch.float64))
    cut = Cut(step)
    assert cut.step.z is cut.step.bottleneck.z
    assert cut.step.target is step.target
    assert not cut.gradient(cut.step.z).any()
