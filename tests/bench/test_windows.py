import pytest
from mmedge_bench.windows import measure_windows


def test_stages_and_unsplit_graph_are_timed_on_the_same_data_and_agree(reference_bundle):
    whole = reference_bundle.with_name("whole.onnx")
    if not whole.exists():
        pytest.skip("the unsplit graph is made where torch is installed")
    result = measure_windows(reference_bundle, whole, blocks=1)
    for rhythm in (result.cold, result.warm):
        assert rhythm.staged_ms > 0 < rhythm.predicted
        assert rhythm.times_less == pytest.approx(rhythm.whole_ms / rhythm.staged_ms)
    assert result.difference <= 1e-5 * result.scale  # the same kernels on the same numbers
