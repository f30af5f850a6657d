"""What benchmarks compare a bundle with, made again from its checkpoint."""

import numpy as np
import pytest
from mmedge_export.peers import open_eager, write_whole
from mmedge_export.reference import CHECKPOINT

from mmedge.backends.ort import OrtSession
from mmedge.bundle import open_bundle
from mmedge.errors import InputError
from mmedge.feeds import front_end


@pytest.fixture(scope="module")
def bundle(reference_bundle):
    return open_bundle(reference_bundle)


def test_the_original_and_the_unsplit_graph_give_what_the_bundle_recorded(bundle, tmp_path):
    write_whole(CHECKPOINT, None, bundle, tmp_path / "whole.onnx")
    whole = OrtSession((tmp_path / "whole.onnx").read_bytes(), threads=1, name="whole")
    manifest, golden = bundle.manifest, bundle.read_golden()
    windows = {
        name: front_end(port, bundle.read).window(golden[f"sensor/{name}"][0])[None].copy()
        for name, port in manifest.ports.items()
    }
    for session in (whole, open_eager(CHECKPOINT, None, bundle, 1)):
        made = {name: np.zeros(manifest.tensors[name].shape, np.float32) for name in manifest.results.values()}
        session.bind(windows | made)()
        for name, tensor in manifest.results.items():
            allowed = 2 * float(golden[f"tolerance/{name}"])
            np.testing.assert_allclose(made[tensor][0], golden[f"output/{name}"][0], rtol=0, atol=allowed)


def test_another_checkpoint_is_no_peer(bundle, tmp_path):
    other = tmp_path / "other.safetensors"
    from safetensors.torch import load_file, safe_open, save_file

    weights = load_file(CHECKPOINT)
    with safe_open(CHECKPOINT, "pt") as file:
        inside = file.metadata()
    save_file({name: tensor * 2 for name, tensor in weights.items()}, other, inside)
    with pytest.raises(InputError, match="is not the checkpoint of"):
        open_eager(other, None, bundle, 1)
