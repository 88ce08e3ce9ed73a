"""Values exact, gradients in closed form."""

import pytest
import torch
from torch import Tensor

from tokenizer.layers.estimators import rotation, straight_through


def pair(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    h, q = (torch.randn(2, *shape, generator=generator)).to(dtype).unbind()
    return h.clone().requires_grad_(), q.clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("estimator", [straight_through, rotation])
def test_the_value_is_the_code_exactly(estimator: object, dtype: torch.dtype) -> None:
    h, q = pair(64, 8, dtype=dtype)
    assert callable(estimator)
    z = estimator(1e3 * h, q)
    assert z.dtype == dtype
    assert torch.equal(z, q)


def test_straight_through_passes_the_gradient_as_it_came() -> None:
    h, q = pair(5, 3)
    q.requires_grad_()
    g = torch.randn(5, 3)
    straight_through(h, q).backward(g)
    assert h.grad is not None
    assert torch.equal(h.grad, g)
    assert q.grad is None


@pytest.mark.parametrize("dim", [1, -1])
def test_rotation_turns_the_gradient_by_the_closed_form(dim: int) -> None:
    h, q = pair(4, 3, 3)
    g = torch.randn(4, 3, 3)
    rotation(h, q, dim=dim).backward(g)
    assert h.grad is not None
    grad, vectors = h.grad.movedim(dim, -1), (h.detach().movedim(dim, -1), q.movedim(dim, -1))
    for at in torch.cartesian_prod(torch.arange(4), torch.arange(3)).tolist():
        a, b = (v[tuple(at)].double() for v in vectors)
        u, v = a / a.norm(), b / b.norm()
        w = (u + v) / (u + v).norm()
        turn = torch.eye(3).double() - 2 * torch.outer(w, w) + 2 * torch.outer(v, u)
        torch.testing.assert_close(turn @ turn.T, torch.eye(3).double())  # a rotation ...
        torch.testing.assert_close(turn @ u, v)  # ... of h onto q
        expected = b.norm() / a.norm() * turn.T @ g.movedim(dim, -1)[tuple(at)].double()
        torch.testing.assert_close(grad[tuple(at)].double(), expected, atol=1e-5, rtol=1e-5)


def test_rotation_keeps_the_angle_between_gradient_and_code() -> None:
    h, q = pair(100, 8)
    g = torch.randn(100, 8)
    rotation(h, q).backward(g)
    assert h.grad is not None
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(h.grad, h.detach()), cosine(g, q), atol=1e-5, rtol=1e-5)


def test_rotation_between_equal_vectors_is_straight_through() -> None:
    h, _ = pair(10, 4)
    g = torch.randn(10, 4)
    rotation(h, h.detach().clone()).backward(g)
    torch.testing.assert_close(h.grad, g, atol=1e-6, rtol=1e-5)


def test_rotation_stays_finite_at_zero_and_at_opposite_vectors() -> None:
    h = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1e-10, 0.0]], requires_grad=True)
    q = torch.tensor([[1.0, 0.0], [-2.0, -4.0], [1e10, 0.0]])
    g = torch.tensor([[3.0, 4.0], [1.0, 1.0], [5.0, 6.0]])
    z = rotation(h, q)
    z.backward(g)
    assert torch.equal(z, q)
    assert h.grad is not None
    assert torch.equal(h.grad[[0, 2]], g[[0, 2]])
    turn = torch.eye(2) - 2 * torch.tensor([[1.0, 2.0], [2.0, 4.0]]) / 5  # the reflection along h
    torch.testing.assert_close(h.grad[1], 2 * turn @ g[1])
