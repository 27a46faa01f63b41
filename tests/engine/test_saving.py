"""A save's parts: who writes what, how much memory it takes, what a failure or a kill leaves."""

from __future__ import annotations

import errno
import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
from unittest.mock import patch

import psutil
import pytest
import torch

from megatron_snow.engine import Engine, TensorReader
from megatron_snow.engine.pieces import Pieces, boxes
from megatron_snow.model import build_snowcoder


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 2, 4)])
def test_boxes_are_the_flat_range(shape):
    flat = torch.arange(math.prod(shape))
    whole = flat.view(shape)
    for first in range(len(flat)):
        for stop in range(first, len(flat) + 1):
            found = [whole[tuple(slice(a, a + n) for a, n in zip(offsets, sizes))] for offsets, sizes in boxes(shape, first, stop)]
            assert len(found) <= 2 * len(shape) - 1
            assert torch.equal(torch.cat([flat[:0], *(box.flatten() for box in found)]), flat[first:stop])


def test_pieces_lie_where_the_part_lies():
    pieces = Pieces(torch.Size((8, 5)), torch.int64)
    pieces.add(torch.arange(7), (4, 0), (4, 5), 3)
    assert {offsets: tensor.tolist() for offsets, tensor in pieces.tensors.items()} == {(4, 3): [[0, 1]], (5, 0): [[2, 3, 4, 5, 6]]}


def peak_growth(recipe, folder):
    """(bytes of memory that the first save added at its peak, bytes of this rank's file)."""
    engine = Engine(recipe, build_snowcoder(recipe))
    batch = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7)).chunk(engine.data_size)[engine.data_rank]
    engine.train_step(batch, 1e-3)
    torch.save(torch.zeros(1), io.BytesIO())  # loads what it needs, once
    process, highest, done = psutil.Process(), [0], threading.Event()

    def watch():
        while not done.is_set():
            highest[0] = max(highest[0], process.memory_info().rss)
            time.sleep(0.0005)

    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    engine.save(folder)
    done.set()
    watcher.join()
    file = (folder / f"__{engine.rank}_0.distcp").stat().st_size
    engine.close()
    return max(0, highest[0] - before), file


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_zero1_save_takes_little_memory_and_is_shared_out(workers, tiny_recipe, tmp_path, ranks):
    """To join the states on each rank would take the whole state."""
    recipe = tiny_recipe(processes=ranks, distributed_optimizer=True, precision="bf16", hidden_size=512, ffn_hidden_size=1376)
    found = workers.run(ranks, peak_growth, recipe, tmp_path)
    whole = sum(size for _growth, size in found)
    assert whole > 150e6
    assert max(growth for growth, _size in found) < whole / 10
    assert max(size for _growth, size in found) < 1.1 * whole / ranks


def save_zero1(recipe, folder):
    engine = Engine(recipe, build_snowcoder(recipe))
    tokens = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7)).chunk(engine.data_size)[engine.data_rank]
    engine.train_step(tokens, 1e-3)
    engine.save(folder)
    engine.close()


def load_by_megatron_core(recipe, folder):
    """Names of weights and moments that megatron-core's own loader reads otherwise than the engine does, and how many are the same."""
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.mapping import ShardedObject
    from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor

    engine = Engine(recipe, build_snowcoder(recipe))
    engine.load(folder)
    entries = {
        name: entry
        for name, entry in engine._whole.chunks[0].sharded_state_dict(metadata={"non_homogeneous_layers": True}).items()
        if not isinstance(entry, ShardedObject)
    }
    params = {name: entry.data.detach().clone() for name, entry in entries.items()}
    moments = {name: engine._optimizer.state[entry.data]["exp_avg"].clone() for name, entry in entries.items()}
    request = {
        f"moment {name}": make_sharded_optimizer_tensor(e, torch.empty(e.data.shape), "optimizer.state.exp_avg")
        for name, e in entries.items()
    }
    loaded = dist_checkpointing.load(entries | request, str(folder))
    same = [name for name in params if torch.equal(loaded[name], params[name]) and torch.equal(loaded[f"moment {name}"], moments[name])]
    engine.close()
    return sorted(set(params) - set(same)), len(same)


def test_megatron_core_reads_what_zero1_wrote(workers, tiny_recipe, tmp_path):
    """The format is torch_dist: boxes of two ranks of ZeRO-1, read by two tensor-parallel ranks."""
    workers.run(2, save_zero1, tiny_recipe(processes=2, distributed_optimizer=True), tmp_path)
    for different, same in workers.run(2, load_by_megatron_core, tiny_recipe(processes=2, tensor=2), tmp_path):
        assert different == []
        assert same > 20


def save_with_a_full_disk(recipe, folder):
    """The messages of a save for which the last rank finds no room, and of the next one."""
    engine = Engine(recipe, build_snowcoder(recipe))
    told = []
    for number, size in enumerate((50_000, None)):
        with patch("megatron_snow.engine.writing.open", opener(size) if engine.rank == engine.world_size - 1 else open, create=True):
            try:
                engine.save(folder / str(number))
                told.append("")
            except OSError as error:
                told.append(error.errno)
    engine.close()
    return told


def opener(size):
    """`open` of files that take no more than `size` bytes, as a full disk does."""

    def open_small(*args):
        file = open(*args)  # noqa: SIM115 closed by who called
        write = file.write
        if size is None:
            return file

        class Small:
            def write(self, data):
                if file.tell() + len(data) > size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return write(data)

            def __enter__(self):
                return self

            def __exit__(self, *exception):
                file.close()

        return Small()

    return open_small


def test_a_rank_without_room_is_heard_by_all(workers, tiny_recipe, tmp_path):
    assert workers.run(2, save_with_a_full_disk, tiny_recipe(processes=2), tmp_path) == [[errno.ENOSPC, ""]] * 2
    assert TensorReader(tmp_path / "1").weights


SAVER = """
import sys
from pathlib import Path
import torch
from megatron_snow.config import load_recipe
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

torch.set_num_threads(1)
recipe = load_recipe(Path(sys.argv[1]), ["parallel.processes=2", "parallel.distributed_optimizer=true"])
engine = Engine(recipe, build_snowcoder(recipe))
for number in range(100_000):
    save = engine.begin_save(Path(sys.argv[2]) / str(number), copy=True)
    save.write()
    save.finish()
"""


def test_a_killed_save_leaves_no_process(tiny_run, tmp_path):
    """SIGKILL to one of two ranks in the midst of saves: no process that either started is there, and the other rank ends."""
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tiny_run.recipe), str(tmp_path)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "SAVE_OF": str(tmp_path)},
            stderr=open(tmp_path / f"stderr-{rank}", "w"),  # noqa: SIM115 closed with this process
        )
        for rank in range(2)
    ]
    try:
        deadline = time.monotonic() + 400  # two imports of torch on a busy machine
        while not (tmp_path / "1" / "__1_0.distcp").exists():
            ended = [rank for rank in range(2) if ranks[rank].poll() is not None]
            assert not ended, (tmp_path / f"stderr-{ended[0]}").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert [psutil.Process(rank.pid).children(recursive=True) for rank in ranks] == [[], []]
        os.kill(ranks[1].pid, signal.SIGKILL)
        assert ranks[1].wait(60) == -signal.SIGKILL
        assert ranks[0].wait(60) != 0
        assert not [process.pid for process in psutil.process_iter() if environment_of(process).get("SAVE_OF") == str(tmp_path)]
    finally:
        for rank in ranks:
            rank.kill()


def environment_of(process):
    try:
        return process.environ()
    except psutil.Error:
        return {}


def free_port():
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
