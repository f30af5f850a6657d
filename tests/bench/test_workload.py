import numpy as np
import pytest
from mmedge_bench.scenarios import SCENARIOS, Rhythm
from mmedge_bench.workload import make_workload, ticks_of

from mmedge.bundle import open_bundle
from mmedge.types import AudioChunk

METRONOME = Rhythm()


@pytest.fixture(scope="module")
def bundle(reference_bundle):
    return open_bundle(reference_bundle)


@pytest.fixture(scope="module")
def ports(bundle):
    return {port.modality: name for name, port in bundle.manifest.ports.items()}


def of(workload, port):
    return [arrival for arrival in workload.arrivals if arrival.port == port]


def make(bundle, ports, rhythm=METRONOME, seconds=6.0, number=0):
    return make_workload(bundle, {ports["camera"]: 15.0}, rhythm, seconds, number)


def test_a_metronome_delivers_everything_when_it_was_taken(bundle, ports):
    workload = make(bundle, ports)
    assert len(of(workload, ports["camera"])) == 90
    assert len(of(workload, ports["audio"])) == 600
    assert all(arrival.due_ns == arrival.end_ns for arrival in workload.arrivals)
    samples = sum(len(arrival.packet.samples) for arrival in of(workload, ports["audio"]))
    assert samples == 6 * bundle.manifest.ports[ports["audio"]].audio.rate_hz


def test_sound_is_the_recorded_one_over_and_over(bundle, ports):
    recorded = bundle.read_golden()[f"sensor/{ports['audio']}"].reshape(-1)
    heard = np.concatenate([a.packet.samples for a in of(make(bundle, ports), ports["audio"])])
    np.testing.assert_array_equal(heard, np.resize(recorded, len(heard)))


def test_the_same_number_is_the_same_stream_and_another_is_not(bundle, ports):
    rhythm = Rhythm(jitter_ms=3, lost=0.1)
    dues = [[a.due_ns for a in make(bundle, ports, rhythm, number=n).arrivals] for n in (1, 1, 2)]
    assert dues[0] == dues[1] != dues[2]


def test_nothing_comes_before_it_was_taken_and_each_sensor_keeps_its_order(bundle, ports):
    workload = make(bundle, ports, next(s.rhythm for s in SCENARIOS if s.name == "paced"))
    assert all(arrival.due_ns >= arrival.end_ns for arrival in workload.arrivals)
    assert [a.due_ns for a in workload.arrivals] == sorted(a.due_ns for a in workload.arrivals)
    for port in ports.values():
        times = [arrival.packet.t_ns for arrival in of(workload, port)]
        assert times == sorted(times)


def test_a_burst_holds_packets_back_and_then_brings_them_at_once(bundle, ports):
    workload = make(bundle, ports, Rhythm(burst_every_s=2, burst_ms=100))
    held = [a for a in of(workload, ports["audio"]) if 2_000_000_000 <= a.end_ns < 2_100_000_000]
    assert len(held) == 10
    assert {arrival.due_ns for arrival in held} == {2_100_000_000}


def test_an_idle_gap_brings_nothing(bundle, ports):
    workload = make(bundle, ports, Rhythm(idle_every_s=2, idle_ms=500))
    ends = np.array([arrival.end_ns for arrival in workload.arrivals]) / 1e9
    assert not ((ends >= 2) & (ends < 2.5)).any()
    assert ((ends >= 2.5) & (ends < 2.6)).any()


def test_a_tick_is_due_with_the_first_packet_that_reaches_it(bundle, ports):
    workload = make(bundle, ports, Rhythm(jitter_ms=5, lost=0.05))
    t_ns = np.arange(50, 280) * 20_000_000
    found = workload.first_that_reaches(t_ns, bundle.manifest, "50hz")
    for tick, at in zip(t_ns, found, strict=True):
        reaching = [
            i
            for i, a in enumerate(workload.arrivals)
            if (a.end_ns >= tick if isinstance(a.packet, AudioChunk) else a.end_ns > tick)
        ]
        assert at == reaching[0]


def test_ticks_are_counted_to_the_end_of_the_stream(bundle, ports):
    assert ticks_of(bundle.manifest, "50hz", make(bundle, ports), 1_000_000_000) == 251
