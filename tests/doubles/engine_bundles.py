"""Bundles with engines that the double loads, as mmedge build would write them."""

import tensorrt_double

from mmedge.bundle import Bundle, file_record
from mmedge.engine_file import EngineKey, EngineRecord, write_engine

__all__ = ["LIBRARIES", "put_engines"]

LIBRARIES = {
    "tensorrt": {"version": "10.3.0", "device": "Double RTX"},
    "tensorrt-rtx": {"version": "1.7.1.116"},
}


def put_engines(bundle: Bundle, library: str, **changes: object) -> None:
    """What mmedge build would write."""
    for stage in bundle.manifest.stages:
        file = bundle.manifest.variants["fp32"].files[stage.name]
        graph = bundle.read(file)
        plan = (
            tensorrt_double.make_plan(graph)
            if library == "tensorrt"
            else tensorrt_double.make_plan(graph, b"vtrt", (1, 7, 1, 116), 4)
        )
        path = bundle.path / "plan.tmp"
        path.write_bytes(plan)
        facts = {"targets": ("sm86",), **LIBRARIES[library], **changes}
        key = EngineKey(onnx_sha256=bundle.graph_sha256(file), library=library, **facts)
        write_engine(bundle, EngineRecord(stage=stage.name, key=key, plan=file_record(path)), plan)
        path.unlink()
