"""Inside the region float32 stays float32; on the meta device it does nothing."""

import torch

from tokenizer.layers.precision import full_precision


def test_autocast_is_off_inside() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32


def test_meta() -> None:
    with full_precision(torch.device("meta")):
        assert torch.empty(2, device="meta").device.type == "meta"
