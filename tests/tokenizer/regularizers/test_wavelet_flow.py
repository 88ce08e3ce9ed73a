"""The wavelet flow: 0 where both networks tell the same bands, and a gradient for both where they do not."""

import torch

from tokenizer.backbones.wfvae import WFVAEConfig
from tokenizer.config import TokenizerConfig
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.wavelet_flow import WaveletFlowConfig

BACKBONE = WFVAEConfig(
    latent_channels=2, encoder_width=4, decoder_width=4, encoder_flow=4, decoder_flow=4, blocks=1
)


def test_the_penalty_is_the_error_of_the_bands() -> None:
    torch.manual_seed(0)
    model = TokenizerConfig(backbone=BACKBONE).build()
    flow = WaveletFlowConfig().build(model.spec.z)
    regularized = Regularized(model, {"wavelet_flow": flow})
    x = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    step = regularized(x, Draw(torch.tensor([1]), step=0))
    bands = [step.extras[name] for name in flow.layers]
    assert [tuple(band.shape[1:]) for band in bands[:2]] == [(12, 3, 4, 4), (24, 2, 2, 2)]
    wanted = sum((bands[level] - bands[2 + level]).abs().mean() for level in (0, 1))
    torch.testing.assert_close(step.penalties["wavelet_flow"], wanted)
    step.penalties["wavelet_flow"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.decoder.read_1.parameters())


def test_equal_bands_cost_nothing() -> None:
    model = TokenizerConfig(backbone=BACKBONE).build()
    flow = WaveletFlowConfig(levels=("bands_1",)).build(model.spec.z)
    step = model(torch.rand(1, 3, 5, 16, 16))
    bands = torch.randn(1, 12, 3, 4, 4)
    step.extras.update({"encoder.bands_1": bands, "decoder.bands_1": bands.clone()})
    assert float(flow.penalty(step, lambda x: x)) == 0.0
