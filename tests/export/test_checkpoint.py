import pickle
from pathlib import Path

import fusion_models
import pytest
import torch
from fusion_models import spec_text
from mmedge_export.checkpoint import build_model, load_checkpoint, save_checkpoint
from safetensors.torch import save_file

import mmedge


class Surprise:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


@pytest.fixture
def state(tmp_path):
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    torch.manual_seed(3)
    return fusion_models.late().state_dict()


def test_weights_and_spec_come_back_from_one_file(save):
    checkpoint = load_checkpoint(save("late"))
    torch.manual_seed(3)
    expected = fusion_models.late().state_dict()
    model = build_model(checkpoint)
    assert not model.training
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert (checkpoint.spec.name, list(checkpoint.spec.ports)) == ("late", ["image", "audio"])


def test_a_pt_state_dict_is_read_with_the_spec_beside_it(state, tmp_path):
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 7}, tmp_path / "a.pt"
    )
    model = build_model(load_checkpoint(tmp_path / "a.pt"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_pickled_module_is_refused_and_not_run(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(fusion_models.late(), tmp_path / "module.pt")
    (tmp_path / "surprise.pt").write_bytes(pickle.dumps(Surprise()))
    torch.save({"weights": Surprise()}, tmp_path / "inside.pt")
    for name in ("module.pt", "surprise.pt", "inside.pt"):
        with pytest.raises(mmedge.CheckpointError, match="run code when they are loaded.*state_dict"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_pickled_module_that_is_trusted_is_the_model(state, tmp_path):
    torch.save(fusion_models.late(), tmp_path / "module.pt")
    checkpoint = load_checkpoint(tmp_path / "module.pt", trust_pickle=True)
    assert isinstance(build_model(checkpoint), fusion_models.Late)
    assert not build_model(checkpoint).training


def test_a_trusted_pickle_says_which_code_is_missing(state, tmp_path, monkeypatch):
    torch.save(fusion_models.late(), tmp_path / "module.pt")
    content = (tmp_path / "module.pt").read_bytes().replace(b"fusion_models", b"future_models")
    (tmp_path / "module.pt").write_bytes(content)
    with pytest.raises(mmedge.CheckpointError, match="future_models.*looked in"):
        load_checkpoint(tmp_path / "module.pt", trust_pickle=True)


def test_missing_and_surprising_keys_are_named(state, tmp_path):
    state["head2.weight"] = state.pop("head.weight")
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(mmedge.CheckpointError, match=r"missing head\.weight; unexpected head2\.weight"):
        build_model(load_checkpoint(tmp_path / "a.safetensors"))


def test_a_weight_of_another_shape_is_named(state, tmp_path):
    state["head.weight"] = torch.zeros(5, 24)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(mmedge.CheckpointError, match=r"head\.weight is \[5, 24\].* has \[3, 24\]"):
        build_model(load_checkpoint(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize("content", ["empty", "text", "truncated"])
def test_a_damaged_file_is_refused(state, tmp_path, name, content):
    path = tmp_path / name
    (torch.save if name.endswith("pt") else save_file)(state, path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"hello, world", "truncated": whole[: len(whole) // 2]}[content])
    with pytest.raises(mmedge.CheckpointError) as refused:
        load_checkpoint(path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(mmedge.CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def test_something_else_than_a_state_dict_is_refused(state, tmp_path):
    torch.save([1, 2, 3], tmp_path / "a.pt")
    with pytest.raises(mmedge.CheckpointError, match="holds list"):
        load_checkpoint(tmp_path / "a.pt")


def test_no_spec_says_where_it_was_looked_for(state, tmp_path):
    (tmp_path / "SPEC.toml").unlink()
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(mmedge.SpecError, match=r"not inside it, and .*SPEC\.toml does not exist"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("nowhere.at_all:build", "cannot be imported"),
        ("fusion_models:nobody", "cannot be imported"),
        ("fusion_models", "not package.module:function"),
        ("fusion_models:SIZE", "expected a function"),
        ("fusion_models:not_a_module", "gave str"),
        ("fusion_models:window", r"refused model\.arguments"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(state, tmp_path, factory, text):
    (tmp_path / "SPEC.toml").write_text(spec_text("late").replace("fusion_models:late", factory))
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(mmedge.SpecError, match=text):
        build_model(load_checkpoint(tmp_path / "a.safetensors"))


def test_a_checkpoint_is_not_saved_with_a_spec_that_nobody_could_read(tmp_path):
    with pytest.raises(mmedge.SpecError, match="not TOML"):
        save_checkpoint(tmp_path / "a.safetensors", fusion_models.late(), "[model")
    assert not list(tmp_path.iterdir())
