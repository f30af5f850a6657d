from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.reference.fusion.encoders import SEQUENCE_ENCODERS, sequence_encoder
from mmedge_export.reference.fusion.matrix import compare, main, measure, page, row_line
from mmedge_export.reference.fusion.model import BLOCKS, build, spec_text

import mmedge

PAGE = Path(__file__).parents[4] / "docs" / "fusion-matrix.md"
PAIRS = [(fusion, encoder) for fusion in BLOCKS for encoder in SEQUENCE_ENCODERS]
FEW = [
    ("channel concatenation", "gru"),
    ("product of experts", "lstm"),
    ("gated sum", "cnn"),
    ("cross-attention", "transformer"),
    ("bottleneck tokens", "gru"),
]
AGAIN = "make the page again: python -m mmedge_export.reference.fusion.matrix -o docs/fusion-matrix.md"


def committed():
    return PAGE.read_text(encoding="utf-8")


def rows_of(text):
    return [line for line in text.splitlines() if any(line.startswith(f"| {f} | {e} |") for f, e in PAIRS)]


@pytest.mark.parametrize(("fusion", "encoder"), FEW)
def test_the_matrix_says_what_becomes_of_a_model(fusion, encoder, tmp_path):
    assert row_line(measure(fusion, encoder, tmp_path)) in rows_of(committed()), AGAIN


@pytest.mark.slow
def test_the_whole_page_is_what_becomes_of_all_models(tmp_path):
    made = CliRunner().invoke(main, ["-o", str(tmp_path / "page.md")], catch_exceptions=False)
    assert made.exit_code == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == committed(), AGAIN


def test_the_page_has_every_block_with_every_encoder_and_the_blocks_own_words():
    rows = rows_of(committed())
    assert [tuple(row.split(" | ")[:2]) for row in rows] == [(f"| {f}", e) for f, e in PAIRS]
    rest = [line for line in committed().splitlines() if line not in rows]
    assert rest == page([]).splitlines(), AGAIN
    assert all("et al." in line or " and " in line for line in rest if line.split(" | ")[0][2:] in BLOCKS)


def test_only_early_fusion_is_kept_whole():
    for row in rows_of(committed()):
        _, fusion, _, _, splits, by_time, _, _, saving = (cell.strip() for cell in row.rstrip("| ").split("|"))
        early = BLOCKS[fusion].family == "early"
        assert splits.startswith("kept whole: early fusion") == early
        assert (by_time == "no") == early
        assert (float(saving[:-1]) == 1) == early


@pytest.mark.parametrize(("fusion", "encoder"), PAIRS)
def test_every_model_listens_to_both_sensors_and_treats_samples_alike(fusion, encoder):
    torch.manual_seed(0)
    model = build(fusion, encoder).eval()
    image, audio = torch.randn(2, 4, 3, 64, 64), torch.randn(2, 48, 20)
    with torch.inference_mode():
        logits, *_ = outputs(model(image, audio))
        blind, *_ = outputs(model(torch.zeros_like(image), audio))
        deaf, *_ = outputs(model(image, torch.zeros_like(audio)))
        turned, *_ = outputs(model(image.flip(0), audio.flip(0)))
    assert logits.shape == (2, 3)
    # a hundred times what rounding does: else parity could not see a branch that is broken
    assert (logits - blind).abs().max() > 2e-4
    assert (logits - deaf).abs().max() > 2e-4
    torch.testing.assert_close(turned.flip(0), logits, rtol=0, atol=1e-5)


def outputs(made):
    return made if isinstance(made, tuple) else (made,)


def test_the_comparison_notices_other_weights(tmp_path):
    torch.manual_seed(0)
    model = build("gated sum", "cnn").eval()
    save_checkpoint(tmp_path / "m.safetensors", model, spec_text("gated sum", "cnn"))
    export(tmp_path / "m.safetensors", tmp_path / "m.mmedge", ExportOptions(random_samples=True))
    compare(model, tmp_path / "m.mmedge", "gated")
    with torch.no_grad():
        model.fusion.gate.bias += 1e-3 * torch.randn_like(model.fusion.gate.bias)
    with pytest.raises(mmedge.ParityError, match=r"gated: infer\(\) gives event off by"):
        compare(model, tmp_path / "m.mmedge", "gated")


def test_names_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="fusion 'telepathy' is not known; expected channel concatenation, "):
        build("telepathy", "gru")
    with pytest.raises(ValueError, match="encoder 'abacus' is not known; expected cnn, gru, "):
        sequence_encoder("abacus", 3, 4, length=5)
