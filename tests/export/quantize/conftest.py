"""Small bundles made without torch, and data for them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import hostile_models
import numpy as np
import onnx
import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of one of hostile_models, exported once; read only."""
    from mmedge_export.pipeline import ExportOptions, export

    done: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            (folder / "SPEC.toml").write_text(hostile_models.SPEC.format(name=name))
            np.savez(folder / "samples.npz", **hostile_models.raw(4, seed=9))
            onnx.save(getattr(hostile_models, name)(), folder / f"{name}.onnx")
            options = ExportOptions(samples=folder / "samples.npz")
            export(folder / f"{name}.onnx", folder / f"{name}.mmedge", options)
            done[name] = folder / f"{name}.mmedge"
        return done[name]

    return make


@pytest.fixture
def tame(made, tmp_path) -> Path:
    """A bundle that a test may change."""
    return Path(shutil.copytree(made("tame"), tmp_path / "tame.mmedge"))


@pytest.fixture
def clips(tmp_path) -> Path:
    """A folder with two files of raw sensor arrays."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for i in range(2):
        np.savez(folder / f"{i}.npz", **hostile_models.raw(12, seed=i))
    return folder
