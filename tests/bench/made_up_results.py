"""Results made up for tests: raw samples of a known kind."""

import numpy as np
from mmedge_bench.result import SCHEMA, Contestant, MachineState, Result, Segment, StageBlock, Start

STATE = MachineState(mhz=(2600.0,), governor="performance", celsius={"cpu": 50.0}, throttled=0, load=0.1)
PERIOD_NS = 20_000_000


def segment(name, scenario, number, latency_ms, cpu_ms=10.0, reference_ns=40_000):
    count = len(latency_ms)
    t_ns = tuple(int(i * PERIOD_NS) for i in range(1, count + 1))
    return Segment(
        scenario=scenario,
        contestant=name,
        round=number,
        t_ns=t_ns,
        latency_ns=tuple(int(value * 1e6) for value in latency_ms),
        age_ms={"image": tuple(float(i % 4) * 20 for i in range(count)), "audio": (0.0,) * count},
        fresh={"image": tuple(i % 4 == 0 for i in range(count)), "audio": (True,) * count},
        expected=count,
        stream_ns=count * PERIOD_NS,
        wall_ns=count * PERIOD_NS,
        cpu_ns=int(cpu_ms * 1e6 * count * PERIOD_NS / 1e9),
        stage_ns={"image": int(2e6 * count), "audio": int(1e6 * count)},
        stage_runs={"image": count // 4, "audio": count},
        reference_ns=reference_ns,
        joules={},
        others=0.01,
        peak_kib=80_000,
    )


def block(name, part, number, cpu_ns, reference_ns=40_000):
    values = tuple(int(value) for value in cpu_ns)
    return StageBlock(
        contestant=name, part=part, round=number, wall_ns=values, cpu_ns=values,
        reference_ns=(reference_ns,) * len(values),
    )  # fmt: skip


def made_up(seed, *, slower=0.0, speed=1.0, rounds=8):
    """A result of two contestants; processes differ by 1 %, runs by 3 %, and the machine's speed cancels."""
    random = np.random.default_rng(seed)
    segments, blocks, starts = [], [], []
    for number in range(rounds):
        own = speed * (1 + 0.01 * random.standard_normal())
        noise = lambda n: np.abs(1 + 0.03 * random.standard_normal(n))  # noqa: E731
        blocks.append(block("mmedge", "image", number, 400e3 * (1 + slower) * own * noise(40), round(40_000 * speed)))
        blocks.append(block("mmedge", "audio", number, 300e3 * own * noise(40), round(40_000 * speed)))
        if number < 3:
            for name, times in (("mmedge", 1.0), ("onnxruntime", 6.0)):
                latency = times * own * np.exp(0.2 * random.standard_normal(120))
                segments.append(segment(name, "paced", number, latency))
                segments.append(segment(name, "closed-loop", number, latency, times * 10 * own, round(40_000 * speed)))
                starts.append(Start(contestant=name, round=number, first_ns=int(2e8 * own), peak_kib=80_000))
    return Result(
        schema=SCHEMA,
        machine={"processor": "made up"},
        before=STATE,
        after=STATE,
        bundle={"name": "made-up", "manifest_sha256": "0" * 64},
        data={"source": "nothing", "sha256": "0" * 64},
        settings={"tick": "50hz", "rates": "image 15/s", "threads": "1"},
        contestants=(
            Contestant(name="mmedge", kind="staged", what="stages", variant="fp32"),
            Contestant(name="onnxruntime", kind="whole", what="whole"),
            Contestant(name="openvino", kind="openvino", what="whole", skipped="openvino is not installed"),
        ),
        segments=tuple(segments),
        blocks=tuple(blocks),
        starts=tuple(starts),
    )
