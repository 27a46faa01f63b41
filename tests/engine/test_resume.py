"""Save and load: bit for bit in the same layout, and from any layout into any other."""

from __future__ import annotations

import filecmp
import multiprocessing
from pathlib import Path

import psutil
import pytest
import torch

from megatron_snow.common.errors import UserError
from megatron_snow.engine import Engine, read_model, weight_shapes, write_model
from megatron_snow.model import build_snowcoder

SAVED_IN = {
    "one": {"processes": 1},
    "dp2-zero1": {"processes": 2, "distributed_optimizer": True},
    "tp2-pp2": {"processes": 4, "tensor": 2, "pipeline": 2},
    "pp2-vpp2": {"processes": 2, "pipeline": 2, "virtual_pipeline": 2},
}
LOADED_IN = {
    "one": {"processes": 1},
    "dp2-zero1": {"processes": 2, "distributed_optimizer": True},
    "tp2-sp-cp2": {"processes": 4, "tensor": 2, "context": 2, "sequence": True},
    "pp2-vpp2-dp2-zero1": {"processes": 4, "pipeline": 2, "virtual_pipeline": 2, "distributed_optimizer": True},
}


def batch(engine):
    tokens = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7))
    return tokens.chunk(engine.data_size)[engine.data_rank]


def train(recipe, steps, *, load=None, save=None, with_optimizer=True):
    """Steps of a new engine between loading and saving; their losses and gradient norms, and the processes left behind."""
    engine = Engine(recipe, build_snowcoder(recipe))
    if load:
        engine.load(Path(load), optimizer=with_optimizer)
    results = [engine.train_step(batch(engine), 3e-3) for _ in range(steps)]
    if save:
        engine.save(Path(save))
    left_behind = [child.pid for child in psutil.Process().children()] + multiprocessing.active_children()
    engine.close()
    return [(result.loss, result.grad_norm) for result in results], left_behind


def save_after(recipe, steps, folder):
    return train(recipe, steps, save=folder)


def load_and_train(recipe, steps, folder, save=None):
    return train(recipe, steps, load=folder, save=save)


def load_weights_and_train(recipe, steps, folder):
    return train(recipe, steps, load=folder, with_optimizer=False)


def load_and_report(recipe, folder):
    try:
        train(recipe, 0, load=folder)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layout", SAVED_IN)
def test_resume_is_bit_identical(workers, tiny_recipe, tmp_path, layout, precision):
    recipe = tiny_recipe(precision=precision, **SAVED_IN[layout])
    size = recipe.parallel.processes
    unbroken, _ = workers.run(size, save_after, recipe, 6, tmp_path / "unbroken")[0]
    first, left_behind = workers.run(size, save_after, recipe, 3, tmp_path / "first")[0]
    second, _ = workers.run(size, load_and_train, recipe, 3, tmp_path / "first", tmp_path / "resumed")[0]
    assert first + second == unbroken
    assert left_behind == []
    names = sorted(path.name for path in (tmp_path / "unbroken").iterdir())  # weights, moments, masters and step count
    assert filecmp.cmpfiles(tmp_path / "unbroken", tmp_path / "resumed", names, shallow=False) == (names, [], [])


@pytest.fixture(scope="module")
def saved(workers, tiny_recipe, tmp_path_factory):
    """layout -> folder saved after 2 steps, and the losses of an unbroken run of 4 in one process."""
    folders = {layout: tmp_path_factory.mktemp(layout) for layout in SAVED_IN}
    for layout, folder in folders.items():
        recipe = tiny_recipe(**SAVED_IN[layout])
        workers.run(recipe.parallel.processes, save_after, recipe, 2, folder)
    unbroken, _ = workers.run(1, train, tiny_recipe(), 4)[0]
    return folders, unbroken


@pytest.mark.parametrize("load", LOADED_IN)
@pytest.mark.parametrize("save", SAVED_IN)
def test_any_layout_loads_any_other(workers, tiny_recipe, saved, save, load):
    folders, unbroken = saved
    recipe = tiny_recipe(**LOADED_IN[load])
    results, _ = workers.run(recipe.parallel.processes, load_and_train, recipe, 2, folders[save])[0]
    torch.testing.assert_close(torch.tensor(results), torch.tensor(unbroken[2:]), rtol=2e-6, atol=0)


def test_tied_embeddings_are_saved_once(workers, tiny_recipe, tmp_path):
    """Of the copies on the first and the last stage, in an interleaved pipeline with ZeRO-1, one is written."""
    tied = {"tie_embeddings": True}
    layout = {"processes": 4, "pipeline": 2, "virtual_pipeline": 2, "distributed_optimizer": True}
    unbroken, _ = workers.run(1, train, tiny_recipe(**tied), 4)[0]
    workers.run(4, save_after, tiny_recipe(**tied, **layout), 2, tmp_path)
    for loaded_in in ({"processes": 1}, layout):
        recipe = tiny_recipe(**tied, **loaded_in)
        results, _ = workers.run(recipe.parallel.processes, load_and_train, recipe, 2, tmp_path)[0]
        torch.testing.assert_close(torch.tensor(results), torch.tensor(unbroken[2:]), rtol=2e-6, atol=0)


def test_weights_alone(workers, tiny_recipe, saved, tmp_path):
    """read_model and write_model are each other's inverse; a fresh optimizer starts from the written weights."""
    folders, unbroken = saved
    recipe = tiny_recipe(**SAVED_IN["tp2-pp2"])
    tensors = read_model(folders["one"])
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == weight_shapes(recipe.model, 130)
    write_model(tmp_path, tensors, recipe.model, 130)
    again = read_model(tmp_path)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    results, _ = workers.run(4, load_weights_and_train, recipe, 1, tmp_path)[0]
    torch.testing.assert_close(torch.tensor(results), torch.tensor(unbroken[2:3]), rtol=2e-6, atol=0)
    assert "holds weights alone" in workers.run(1, load_and_report, tiny_recipe(), tmp_path)[0]


def test_another_model_is_refused(workers, tiny_recipe, saved):
    message = workers.run(1, load_and_report, tiny_recipe(ffn_hidden_size=128), saved[0]["one"])[0]
    assert "model.ffn_hidden_size 96" in message
    assert "the recipe says 128" in message


def test_write_model_names_what_does_not_fit(tiny_recipe, saved, tmp_path):
    tensors, model = read_model(saved[0]["one"]), tiny_recipe().model
    with pytest.raises(UserError, match=r"decoder\.final_layernorm\.weight: missing"):
        write_model(tmp_path, {name: t for name, t in tensors.items() if "final" not in name}, model, 130)
    with pytest.raises(UserError, match=r"embedding.*shape \[130, 64\], the model's is \[131, 64\]"):
        write_model(tmp_path, tensors, model, 131)
