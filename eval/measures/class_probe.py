"""What a linear map tells of a picture's class from its latent: how much meaning lies in it, and how plainly.

Letters: N pictures, D values of a latent, Y classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.errors import NotComputedError

FOLDS = 5
SHRINKAGE = 0.1


def class_probe(latents: Tensor, labels: Tensor, folds: int = FOLDS) -> float:
    """Share of pictures whose class is told by a ridge regression on the latents of the other folds' pictures.

    Values are brought to mean 0 and variance 1 by the training folds, classes to one-hot vectors less their mean; the
    ridge is ``SHRINKAGE`` times the mean eigenvalue. Picture i is in fold i mod ``folds``, so that classes that lie one
    after the other are spread evenly.

    Args:
        latents: (N, D).
        labels: (N,) int64.
        folds: at least 2.

    Source: Hoerl and Kennard 1970, Ridge Regression; Alain and Bengio 2016, Understanding intermediate layers using
    linear classifier probes, arXiv 1610.01644.

    Raises:
        NotComputedError: if there are fewer than two classes, or too few pictures of one.
    """
    classes, y = torch.unique(labels, return_inverse=True)
    if len(classes) < 2 or int(y.bincount().min()) < 2 * folds:
        raise NotComputedError(
            f"held-out pictures in at least two classes (folders) of at least {2 * folds} pictures each",
            "under data.validation",
        )
    x, wanted = latents.double(), F.one_hot(y, len(classes)).double()
    fold = torch.arange(len(x)) % folds
    told = torch.empty_like(y)
    for index in range(folds):
        held = fold == index
        mean, std = x[~held].mean(dim=0), x[~held].std(dim=0, correction=0).clamp_min(1e-8)
        seen, new = (x[~held] - mean) / std, (x[held] - mean) / std
        kernel = seen @ seen.T  # (N', N'): as good as weights (D, Y), and small
        ridge = SHRINKAGE * kernel.trace() / len(kernel)
        offset = wanted[~held].mean(dim=0)
        weights = torch.linalg.solve(kernel + ridge * torch.eye(len(kernel)).double(), wanted[~held] - offset)
        told[held] = (new @ seen.T @ weights + offset).argmax(dim=1)
    return float((told == y).double().mean())
