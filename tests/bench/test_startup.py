from mmedge_bench.startup import BARE, FIRST_PREDICTION, measure_start


def test_a_started_process_tells_its_time_and_memory(reference_bundle):
    bare = measure_start(BARE, runs=1)
    first = measure_start(FIRST_PREDICTION, str(reference_bundle), runs=1)
    assert min(bare.ms, first.ms) > 0
    assert 0 < bare.peak_mib < first.peak_mib
