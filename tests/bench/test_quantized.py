import json

import numpy as np
import pytest
from mmedge_bench.quantized import measure_quantized


def test_a_variant_is_scored_and_timed_against_fp32(bundle_copy, tmp_path):
    samples = pytest.importorskip("mmedge_export.reference.samples").samples(3, 0)
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["variants"]["twin"] = manifest["variants"]["fp32"]
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in ("image", "audio")}
    labels = {"event": np.arange(3), "label/distance": np.full((3, 1), np.nan, np.float32)}
    labels["label/distance"][0] = 30
    np.savez(tmp_path / "scenes.npz", **arrays, **labels)
    result = measure_quantized(bundle_copy, tmp_path, "twin", blocks=2)
    assert result.windows == 3
    assert result.scores == result.fp32
    assert 0 <= result.fp32["event accuracy"] <= 1
    assert result.agreement == {"event": 1.0}
    assert result.fp32_bytes == result.variant_bytes
    assert set(result.times) == {"stages, warm", "stages, cold", "whole window", "second of stream", "infer"}
    for pair in result.times.values():
        assert pair.fp32_ms > 0
        assert pair.low <= pair.times_faster <= pair.high
