"""The unsplit graph that a benchmark holds against the stages."""

import numpy as np
import pytest
from mmedge_bench.setup import open_whole

from mmedge.bundle import open_bundle
from mmedge.feeds import front_end

pytest.importorskip("torch")
from mmedge_export.demo.steps import CHECKPOINT
from mmedge_export.peers import write_whole


def test_the_unsplit_graph_needs_no_file_beside_it_and_gives_what_torch_gave(reference_bundle, tmp_path):
    bundle = open_bundle(reference_bundle)
    write_whole(CHECKPOINT, None, bundle, tmp_path / "whole.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.onnx"]
    golden = bundle.read_golden()
    windows = {
        name: front_end(port, bundle.read).window(golden[f"sensor/{name}"][0])[np.newaxis]
        for name, port in bundle.manifest.ports.items()
    }
    made = open_whole(tmp_path / "whole.onnx", threads=1).run(windows)
    for name, output in bundle.manifest.outputs.items():
        tolerance = float(golden[f"tolerance/{name}"])  # a multiple of the model's own rounding noise
        np.testing.assert_allclose(made[output.tensor][0], golden[f"output/{name}"][0], rtol=0, atol=tolerance)
