"""Inside the regions float32 stays float32, or becomes bfloat16; on the meta device nothing happens."""

import torch

from tokenizer.layers.precision import full_precision, half_precision


def test_autocast_is_off_inside() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32


def test_half_inside_full_inside_half() -> None:
    x = torch.ones(2, 2)
    with full_precision(x.device), half_precision(x.device):
        assert (x @ x).dtype == torch.bfloat16
    assert (x @ x).dtype == torch.float32


def test_meta() -> None:
    with full_precision(torch.device("meta")), half_precision(torch.device("meta")):
        assert torch.empty(2, device="meta").device.type == "meta"
