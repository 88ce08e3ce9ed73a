"""Markdown and CSV say the same as the record, and say what is missing."""

import csv
import io
from collections.abc import Callable

from eval.compare.record import Comparison, PromiseRow
from eval.compare.settings import PromiseConfig
from eval.compare.tables import csv_text, markdown, remarks, summary

Make = Callable[..., Comparison]


def test_markdown_has_every_row_and_the_reasons(comparison: Make) -> None:
    promise = PromiseConfig(member="codes", against="plain", improves="psnr")
    judged = PromiseRow(promise=promise, value=24.0, against=28.5, better_by=-4.5, kept=False)
    text = markdown(comparison(promises=(judged,)))
    assert "| tokenizer | bits/pixel | tokens | PSNR | over floor | codes | use |" in text
    assert "| `plain` | 4.0000 | 64 | 28.50 | 2.50 | - | - |" in text
    assert "| floor, 5x5 cells, 8 bits a value | 0.5900 | - | 24.50 |" in text
    assert "| `<broken>` | - |" in text
    assert "* <broken>: failed. no tokenizer 'x' | <b>" in text
    assert "* JPEG at 640 bits a picture: too large" in text
    assert "* LPIPS vgg: not computed, needs a file; put it there" in text
    assert "| `codes` over `plain` | PSNR | 24.00 | 28.50 | no |" in text
    assert "`python -m eval.compare some data.path=PICTURES`" in text
    assert "| tokenizer | rms |" in text
    columns = {
        line.count("|")
        for line in text.splitlines()
        if line.startswith("| `codes` | 0") or "over floor" in line
    }
    assert len(columns) == 1


def test_csv_is_unrounded_and_complete(comparison: Make) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(comparison()))))
    assert [item["kind"] for item in rows] == ["member", "floor", "jpeg", "member", "member"]
    assert (rows[0]["psnr"], rows[0]["codebook_size"], rows[0]["latent_rms"]) == ("24", "1024", "")
    assert rows[3]["images"] == "64"
    assert rows[4]["remark"] == "no tokenizer 'x' | <b>"


def test_a_number_that_some_member_has_is_no_remark(comparison: Make) -> None:
    made = comparison()
    first = made.members[0]
    values = first.numbers.model_copy(update={"values": first.numbers.values | {"lpips_vgg": 0.2}})
    members = (first.model_copy(update={"numbers": values}), *made.members[1:])
    assert not any("LPIPS" in text for text in remarks(made.model_copy(update={"members": members})))


def test_the_terminal_gets_a_line_a_member(comparison: Make) -> None:
    lines = summary(comparison()).splitlines()
    assert lines[0] == "plain     bits/pixel 4.0000, PSNR 28.50, over floor 2.50"
    assert lines[2] == "<broken>  failed: no tokenizer 'x' | <b>"


def test_nothing_measured_is_still_a_table(comparison: Make) -> None:
    alone = comparison(members=(comparison().members[2],), references=(), curves={})
    assert "<broken>: failed" in markdown(alone)
    assert len(list(csv.DictReader(io.StringIO(csv_text(alone))))) == 1
