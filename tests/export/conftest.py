"""Checkpoints of small models, with their specs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from traps import TRAPS


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is about a trap, wherever it is: the table is the one place that says so."""
    named = {name for names in TRAPS.values() for name in names}
    tests = config.rootpath / "tests"
    for item in items:
        path = item.path.relative_to(tests).as_posix() if item.path.is_relative_to(tests) else ""
        if f"{path}::{item.name.partition('[')[0]}" in named:
            item.add_marker(pytest.mark.traps)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of a model with random weights and its spec inside."""

    def write(factory: str, **spec: Any) -> Path:
        import fusion_models
        import torch
        from mmedge_export.checkpoint import save_checkpoint

        torch.manual_seed(3)
        name, _, argument = factory.partition(" ")
        model = getattr(fusion_models, name)(*([argument] if argument else []))
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, model, fusion_models.spec_text(factory, **spec))
        return path

    return write


class Digits(NamedTuple):
    """A trained digits network and its scenes."""

    network: Any
    training: list[Any]
    held_out: list[Any]


@pytest.fixture(scope="session")
def digits(data_dir: Path) -> Digits:
    """Trained here and now on real recordings, in about twenty seconds; not to be changed."""
    from mmedge_export.reference.digits.scenes import read_scenes
    from mmedge_export.reference.digits.train import train

    training, held_out = read_scenes(data_dir / "fsdd.zip")
    return Digits(train(training), training, held_out)
