"""Tables and page: the best generator first, both distances, what failed and why, and the feature space by name."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import torch

from eval.downstream import tables
from eval.downstream.record import DownstreamReport


def report(make_report: Callable[..., Any]) -> DownstreamReport:
    base = make_report()
    numbers = {"scales": {"8": 0.5, "16": 0.25}}
    done = {
        "source": "a",
        "status": "done",
        "latent_shape": [4, 8, 8],
        "values": 256,
        "psnr": 21.125,
        "loss": 0.5,
    }
    members = [
        done
        | {
            "label": "worse",
            "reconstruction": numbers | {"mean": 0.001},
            "generation": numbers | {"mean": 0.03},
        },
        {"label": "<lost>", "source": "b", "status": "failed", "why": "no tokenizer <b>"},
        done
        | {
            "label": "better",
            "reconstruction": numbers | {"mean": 0.002},
            "generation": numbers | {"mean": 0.02},
        },
    ]
    tree = {
        "command": "python -m eval.downstream tiny",
        "resolution": 32,
        "images": 16,
        "num_samples": 6,
        "sampling": "2 euler steps, no guidance",
        "training_pictures": {"count": 8, "sha256": "ab" * 32},
        "held_out_pictures": {"count": 4, "sha256": "cd" * 32},
        "num_reference": 8,
        "num_held_out": 4,
        "photographs": numbers | {"mean": 0.001},
        "members": members,
        "machine": json.loads(base.machine.model_dump_json()),
        "commit": None,
        "seconds": 1.0,
    }
    return DownstreamReport.parse(tree)


def test_markdown_begins_with_the_best_generator(make_report: Callable[..., Any]) -> None:
    text = tables.markdown(report(make_report))
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in rows] == ["better", "worse", "<lost>"]
    assert "| 4x8x8 | 256 | 21.12 | 0.0020 | 2 | 0.0200 | 1 | 0.500 |" in rows[0]
    assert "| 0.0010 | 1 | 0.0300 | 2 |" in rows[1]
    assert "<lost>: failed. no tokenizer <b>" in text
    assert "not FID" in text


def test_csv_has_every_scale_unrounded(make_report: Callable[..., Any]) -> None:
    lines = list(csv.DictReader(io.StringIO(tables.csv_text(report(make_report)))))
    assert [line["tokenizer"] for line in lines] == ["worse", "<lost>", "better"]
    assert lines[2]["generation_mean"] == "0.02"
    assert (lines[0]["reconstruction_16"], lines[0]["reconstruction_8"]) == ("0.25", "0.5")
    assert lines[1]["generation_mean"] == ""


def test_the_page_shows_samples_and_escapes_names(make_report: Callable[..., Any]) -> None:
    shown = {"better": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)}
    html = tables.page(report(make_report), shown, torch.full((2, 3, 32, 32), 200, dtype=torch.uint8))
    assert html.index("<th>better</th>") < html.index("<th>worse</th>")
    assert html.count("data:image/png") == 2
    assert "&lt;lost&gt;: failed" in html
    assert "<lost>" not in html


def test_the_summary_is_a_line_a_tokenizer(make_report: Callable[..., Any]) -> None:
    lines = tables.summary(report(make_report)).splitlines()
    assert lines[0] == "better  generated 0.0200, reconstructed 0.0020, PSNR 21.12"
    assert lines[2].startswith("<lost>  failed: no tokenizer")
