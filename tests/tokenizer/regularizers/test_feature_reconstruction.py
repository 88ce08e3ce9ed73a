"""Features given back: the squared error of two layers, without a gradient to the right one."""

import torch

from tokenizer.config import TokenizerConfig
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.feature_reconstruction import FeatureReconstructionConfig

SMALL = {"width": 16, "depth": 1, "heads": 2}


def test_it_is_the_squared_error_and_trains_what_lies_before_it() -> None:
    torch.manual_seed(0)
    tree = {"kind": "vit", "patch": 4, "latent_channels": 4, "encoder": SMALL, "decoder": SMALL}
    model = TokenizerConfig.parse({"backbone": tree}).build()
    config = FeatureReconstructionConfig(source="encoder.patch_embed", told="decoder.body.blocks.0")
    module = Regularized(model, {config.kind: config.build(model.spec.z)})
    step = module(torch.rand(2, 3, 16, 16), Draw(torch.tensor([1, 2]), step=3))
    wanted, told = step.extras["encoder.patch_embed"], step.extras["decoder.body.blocks.0"]
    torch.testing.assert_close(step.penalties[config.kind], (told - wanted).square().mean())
    (gradient,) = torch.autograd.grad(step.penalties[config.kind], told)
    torch.testing.assert_close(gradient, 2 * (told - wanted) / told.numel())
