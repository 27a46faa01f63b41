"""What several machines say of each other before step 1 (tests/multinode has it in real processes)."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

from megatron_snow.common.network import address_towards, interface_of, is_loopback
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.training import prepare
from megatron_snow.training.hosts import Report, judge, lost_peer, view_of


def report(host: str, first_rank: int = 0, **changes: Any) -> Report:
    return dataclasses.replace(Report(host, first_rank, 2, [], "10.0.0.1", {"steps done": "4"}), **changes)


def test_nothing_is_wrong() -> None:
    assert judge([report("a"), report("b", 2)]) == ""


def test_all_that_is_wrong_is_told_at_once_by_host_and_ranks() -> None:
    reports = [
        report("a"),
        report("b", 2, problems=["no dataset"], view={}),
        report("c", 4, view={"steps done": "0"}),
        report("d", 6, address="127.0.1.1"),
    ]
    assert judge(reports).splitlines() == [
        "not all of the 4 machines can train this:",
        "  b (ranks 2 to 3): no dataset",
        "  c (ranks 4 to 5): steps done: 0, on a (ranks 0 to 1) 4; all machines must see the same files",
        "  d (ranks 6 to 7): MASTER_ADDR is 127.0.1.1 there, its own loopback (/etc/hosts?); set it to an address that all machines reach",
    ]


def test_a_mistake_that_all_make_is_told_once() -> None:
    assert judge([report("a", problems=["bad"]), report("b", 2, problems=["bad"])]) == "bad"


def test_two_launchers_of_one_machine_may_use_the_loopback() -> None:
    assert judge([report("a", address="127.0.0.1"), report("a", 2, address="127.0.0.1")]) == ""


def test_another_recipe_and_other_files_are_another_view(make_tiny_run: Any, tmp_path: Path) -> None:
    run = make_tiny_run(tmp_path)
    prose = tmp_path / "prose.md"
    prose.write_text("Text.")
    recipe, workspace = load_recipe(run.recipe, [f"evaluation.domains.prose={prose}"]), Workspace(tmp_path / "out")
    prepared = prepare(recipe, workspace)
    view = view_of(prepared)
    assert view == view_of(prepare(recipe, workspace))
    other = view_of(prepare(dataclasses.replace(recipe, seed=8), workspace))
    assert {name for name in view if view[name] != other[name]} == {"the recipe"}
    for path, name in (
        (run.workspace.tokens("general") / "C.bin", "dataset general"),
        (run.workspace.tokens("held_out") / "C.bin", "dataset held_out"),
        (prose, "evaluation.domains.prose"),
    ):
        with open(path, "ab") as file:
            file.write(b"\0\0")
        now = view_of(prepared)
        assert {name for name, value in now.items() if value != view[name]} == {f"the files of {name}"}
        view = now


def test_an_own_address_has_an_interface() -> None:
    address = address_towards("127.0.0.1", 29500)
    assert address == "127.0.0.1"
    assert is_loopback(address)
    assert interface_of(address) in {name for _, name in socket.if_nameindex()}
    assert interface_of("192.0.2.1") is None


def test_only_a_lost_connection_is_a_lost_peer() -> None:
    assert lost_peer(RuntimeError("shape mismatch")) is None
    text = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.77.0.2]:1\nstack"
    told = lost_peer(RuntimeError(text))
    assert told is not None
    assert "another process is gone" in told
    assert "stack" not in told
