"""Where one sensor's part is drowned by another's, an error in it must not be."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.cases import baseline, plan_cases
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.source import open_source
from onnx import numpy_helper

import mmedge
from mmedge.bundle import file_record
from mmedge.manifest import read_manifest

RANDOM = ExportOptions(random_samples=True)


def perturb(path, weight, relative):
    """Noise on one weight, in proportion to how its values scatter."""
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == weight)
    values = numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values + relative * values.std() * noise, weight))
    onnx.save(model, path)


def reseal(bundle, file):
    """What a careful attacker would do: the hash fits what was changed."""
    manifest = read_manifest((bundle / "manifest.json").read_text(), "manifest.json")
    manifest = replace(manifest, files={**manifest.files, file: file_record(bundle / file)})
    (bundle / "manifest.json").write_text(manifest.to_json())


def test_a_branch_broken_after_the_export_is_refused(save, tmp_path):
    checkpoint = save("late")

    def break_audio(step):
        if step.startswith("proving"):
            (draft,) = tmp_path.glob(".out.mmedge.*")
            perturb(draft / "onnx/fp32/audio.onnx", "model.sound.layers.0.weight", 1e-3)
            reseal(draft, "onnx/fp32/audio.onnx")

    with pytest.raises(mmedge.ParityError) as refused:
        export(checkpoint, tmp_path / "out.mmedge", RANDOM, break_audio)
    print(refused.value)
    assert 0


def test_unf(save, tmp_path):
    with pytest.raises(mmedge.ParityError) as refused:
        export(save("unfaithful"), tmp_path / "out.mmedge", RANDOM)
    print(refused.value)
    assert 0
