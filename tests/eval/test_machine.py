"""The machine and the commit as reports tell them."""

import os
import re
import socket

import pytest
import torch

from eval import machine


def test_machine_names_no_host_or_user() -> None:
    text = machine.describe(torch.device("cpu")).to_json()
    assert torch.__version__ in text
    assert socket.gethostname() not in text
    assert os.path.expanduser("~") not in text


def test_commit_is_a_hash_or_nothing(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", found)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.commit() is None


def test_devices_are_checked() -> None:
    assert machine.pick_device("cpu") == torch.device("cpu")
    assert machine.pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="use auto, cpu, cuda"):
        machine.pick_device("gpu")
    with pytest.raises(ValueError, match="CUDA devices"):
        machine.pick_device("cuda:99")
