from mmedge_bench.remembered import remember
from mmedge_bench.result import Contestant
from mmedge_bench.statistics import Estimate
from mmedge_bench.summary import Row

import mmedge
from mmedge.bundle import open_bundle
from mmedge.measured import read_measured


def row(kind, ms, variant="fp32"):
    latency = {name: Estimate(value=ms * scale, low=ms, high=ms, n=100) for name, scale in (("p50", 1), ("p99", 2))}
    return Row(
        contestant=Contestant(name=kind, kind=kind, what="", variant=variant, backend="onnxruntime-cpu"),
        work_ms_per_s=(), throughput_hz=0, latency_ms=latency if ms else {}, missed=0, fresh={}, age_ms={}, start_s=0,
        peak_mib=0, joules_per_s={},
    )  # fmt: skip


def test_what_bench_measured_of_the_bundle_is_known_when_it_is_loaded(reference_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    bundle = open_bundle(reference_bundle)
    kept = remember(bundle, [row("staged", 2.5), row("whole", 9.0), row("staged", 0)], threads=1)
    assert [(each.backend, each.ms, each.p99_ms, each.runs) for each in kept] == [("onnxruntime-cpu", 2.5, 5.0, 100)]
    assert read_measured(bundle, "fp32", 1)["onnxruntime-cpu"].library.startswith("onnxruntime ")
    with mmedge.load(reference_bundle) as model:
        assert model.report.reason.startswith("the fastest measured here: 2.5 ms with onnxruntime ")
