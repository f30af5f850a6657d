"""The committed live run, short by default, as long as its benchmark where asked for."""

import json
import subprocess
import sys

import pytest


def broken(bundle, *options):
    """What did not hold, in a process of its own: ALSA reads the environment once."""
    command = [sys.executable, "-m", "mmedge_bench.sensors", str(bundle), "--json", *options]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert told.stdout, told.stderr
    checks = json.loads(told.stdout)
    assert len(checks) >= 5
    return {check["what"]: check["found"] for check in checks if not check["holds"]}


@pytest.mark.pulse
@pytest.mark.slow
def test_a_minute_of_real_capture_and_sensors_that_fail(reference_bundle):
    assert broken(reference_bundle, "--seconds", "60") == {}


@pytest.mark.pulse
def test_seconds_of_real_capture_lose_no_sample_and_know_their_times(reference_bundle):
    """Less what a machine that is busy with other tests cannot promise: ticks on time."""
    assert broken(reference_bundle, "--seconds", "2.5", "--steady").keys() <= {"ticks"}
