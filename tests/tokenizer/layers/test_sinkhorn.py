"""Transport plans have the marginals asked for, and the cost of the best plan as the entropy vanishes."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from tokenizer.layers.sinkhorn import dual, solve


def problem(rows: int, codes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(rows, 2, generator=generator), torch.rand(codes, 2, generator=generator)
    return torch.cdist(x, y).square(), torch.rand(codes, generator=generator).log_softmax(dim=0)


def test_the_plan_has_both_marginals() -> None:
    cost, log_weights = problem(40, 7)
    potential = solve(cost, log_weights, 0.05, torch.zeros(7), 200)
    plan = (log_weights + (potential - cost) / 0.05).softmax(dim=1) / 40
    torch.testing.assert_close(plan.sum(dim=0), log_weights.exp(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((40,), 1 / 40))


def test_a_start_where_the_last_step_ended_needs_fewer_rounds() -> None:
    cost, log_weights = problem(40, 7)
    settled = solve(cost, log_weights, 0.05, torch.zeros(7), 300)
    near = cost + 0.001
    cold = (solve(near, log_weights, 0.05, torch.zeros(7), 3) - settled).abs().max()
    warm = (solve(near, log_weights, 0.05, settled, 3) - settled).abs().max()
    assert warm < 0.01 * cold


def test_without_entropy_it_is_the_best_assignment() -> None:
    cost, _ = problem(12, 12)
    uniform = torch.zeros(12).log_softmax(dim=0)
    rows, columns = linear_sum_assignment(cost.numpy())
    best = cost[rows, columns].mean().item()
    potential = torch.zeros(12)
    for epsilon in (0.1, 0.03, 0.01, 0.003, 0.001):
        potential = solve(cost, uniform, epsilon, potential, 500)
    assert dual(cost, uniform, 0.001, potential).item() == pytest.approx(best, abs=0.005)


def test_the_gradient_to_the_cost_is_the_plan() -> None:
    cost, log_weights = problem(20, 5)
    potential = solve(cost, log_weights, 0.1, torch.zeros(5), 100)
    cost.requires_grad_()
    dual(cost, log_weights, 0.1, potential).backward()
    plan = (log_weights + (potential - cost.detach()) / 0.1).softmax(dim=1) / 20
    torch.testing.assert_close(cost.grad, plan)


def test_the_dual_is_largest_at_the_solution() -> None:
    cost, log_weights = problem(20, 5)
    potential = solve(cost, log_weights, 0.1, torch.zeros(5), 200)
    best = dual(cost, log_weights, 0.1, potential)
    for seed in range(5):
        other = potential + 0.1 * torch.randn(5, generator=torch.Generator().manual_seed(seed))
        assert dual(cost, log_weights, 0.1, other) < best
