"""Models that nobody here wrote: each is exported the user's way, proved, split, and run."""

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from architectures.page import PAGE, line
from architectures.table import ARCHITECTURES, Architecture, build, exported
from mmedge_export.named import named_copy
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.spec import read_spec

import mmedge

pytestmark = pytest.mark.architectures

RTOL = 2e-5  # float32, other kernels and another order of summation in some ten layers
SEED_OF_ANOTHER_SAMPLE = 2


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.key)
def test_a_third_party_architecture_is_exported_split_and_run_as_torch_runs_it(row, tmp_path):
    done = exported(row, tmp_path)
    assert all(comparison.holds for comparison in done.parity.comparisons)
    assert tuple(stage.name for stage in done.manifest.stages) == row.stages
    spec = read_spec(row.spec, "the spec", tmp_path)
    sample = draw_samples(spec, None, random=True)[SEED_OF_ANOTHER_SAMPLE]
    named = named_copy(build(row), spec.call, row.outputs)
    tensors = port_tensors(spec.ports, sample, spec.read)
    with torch.inference_mode():
        expected = named(**{name: torch.from_numpy(array) for name, array in tensors.items()})
    with mmedge.load(tmp_path / "out.mmedge") as model:
        given = model.infer(**{name: str(data) if data.dtype.kind == "U" else data for name, data in sample.items()})
    for name, tensor in zip(row.outputs, expected, strict=True):
        tolerance = RTOL * float(tensor.abs().max())
        np.testing.assert_allclose(given.outputs[name], tensor[0].numpy(), rtol=0, atol=tolerance)
    assert line(row, done) in PAGE.read_text(encoding="utf-8").splitlines(keepends=True)


def test_a_model_whose_sizes_depend_on_data_is_refused_by_the_line_where_they_do(tmp_path):
    from architectures.table import PICTURE_AND_WORDS

    row = Architecture(name="ViLT", factory="reading:vilt", inputs=PICTURE_AND_WORDS, outputs=("logits",))
    with pytest.raises(mmedge.ExportError, match=r"data-dependent.*modeling_vilt\.py:\d+.*torch\.where") as refused:
        exported(row, tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.mmedge").exists()
