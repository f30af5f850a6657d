import numpy as np
import pytest


@pytest.fixture(scope="session")
def sound():
    """[30000] float32: a rising tone in noise, then near silence, then noise; 74 dB lie between loud and quiet."""
    rng = np.random.default_rng(7)
    time = np.arange(30000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time)
    level = np.where((time > 0.8) & (time < 1.2), 1e-5, 0.05)
    return (np.where(level > 0.01, tone, 0) + level * rng.standard_normal(30000)).astype(np.float32)
