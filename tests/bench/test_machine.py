from types import SimpleNamespace

import pytest
from mmedge_bench.machine import Meter, describe_machine, read_state
from mmedge_bench.nvml import gpu_joules


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_energy_comes_from_the_counters_of_the_processor_and_survives_their_wrap(tmp_path):
    domain = "sys/class/powercap/intel-rapl:0"
    write(tmp_path, f"{domain}/name", "package-0\n")
    write(tmp_path, f"{domain}/max_energy_range_uj", "1000000000")
    write(tmp_path, f"{domain}/energy_uj", "999000000")
    write(tmp_path, "sys/class/powercap/intel-rapl:0:0/energy_uj", "5")  # a part of the package, not to be added
    meter = Meter(tmp_path)
    write(tmp_path, f"{domain}/energy_uj", "4000000")
    assert meter.read(own_cpu_ns=0).joules == {"RAPL package-0": pytest.approx(5.0)}


def test_rails_of_a_jetson_are_read_as_watts(tmp_path):
    monitor = "sys/class/hwmon/hwmon3"
    for name, text in (("name", "ina3221"), ("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", "2000")):
        write(tmp_path, f"{monitor}/{name}", text)
    used = Meter(tmp_path).read(own_cpu_ns=0)
    assert used.joules.keys() == {"INA3221 VDD_IN"}


def test_where_nothing_can_be_read_nothing_is_claimed(tmp_path):
    used = Meter(tmp_path).read(own_cpu_ns=0)
    assert used.joules == {}
    assert used.others == 0
    state = read_state(tmp_path)
    assert (state.mhz, state.governor, state.celsius, state.throttled) == ((), "", {}, None)


def test_throttling_clocks_and_temperatures_are_read(tmp_path):
    cpu = "sys/devices/system/cpu/cpu0"
    write(tmp_path, f"{cpu}/cpufreq/scaling_cur_freq", "2600000\n")
    write(tmp_path, f"{cpu}/cpufreq/scaling_governor", "powersave\n")
    write(tmp_path, f"{cpu}/thermal_throttle/core_throttle_count", "7\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "51000\n")
    write(tmp_path, "proc/loadavg", "0.50 0.40 0.30 1/100 1\n")
    state = read_state(tmp_path)
    assert (state.mhz, state.governor, state.throttled, state.load) == ((2600.0,), "powersave", 7, 0.5)
    assert state.celsius == {"x86_pkg_temp": 51.0}


def test_this_machine_can_be_described():
    facts = describe_machine()
    assert facts["python"]
    assert int(facts["cores"]) >= 1


class _NoCounterError(Exception):
    pass


def fake_nvml():
    """Two GPUs; every reading of the first finds 5 J more, the second has no counter."""
    counted = iter(range(1_000_000, 2_000_000, 5000))

    def energy(device):
        if device == 1:
            raise _NoCounterError
        return next(counted)

    return SimpleNamespace(
        NVMLError=_NoCounterError,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName={0: "H200", 1: "H200"}.get,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )


def test_energy_of_gpus_is_what_their_driver_counted_meanwhile(tmp_path, monkeypatch):
    fake = fake_nvml()
    monkeypatch.setattr("mmedge_bench.nvml._nvml", lambda: fake)
    assert Meter(tmp_path).read(own_cpu_ns=0).joules == {"NVML 0 H200": pytest.approx(5.0)}


def test_without_a_driver_no_energy_of_gpus_is_claimed(monkeypatch):
    monkeypatch.setattr("mmedge_bench.nvml._nvml", lambda: None)
    assert gpu_joules() == {}
