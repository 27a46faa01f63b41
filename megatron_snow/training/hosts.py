"""What several machines tell each other before step 1: a file that one of them does not see, another recipe, an unreachable address.

One report a machine goes through torchrun's own store, before any process group: what is wrong on one machine is said on
all, where it would otherwise be a peer that never comes. One process a machine reports, the others wait for the verdict.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError, explain_os_error
from megatron_snow.common.files import beside
from megatron_snow.common.network import address_towards, is_loopback
from megatron_snow.training.data import dataset_path, dataset_prefixes
from megatron_snow.training.domains import domain_files
from megatron_snow.training.run import Run
from megatron_snow.training.speaking import speaks_for_machine

if TYPE_CHECKING:
    from torch.distributed import Store

_PATIENCE = timedelta(minutes=10)  # checking data on a slow file system; torchrun waits as long for a machine to come
_SEEN_SECONDS = 15  # how long a file system may take to show a file of another machine


def machines() -> int:
    """How many machines torchrun has started ranks on; 1 without torchrun."""
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Report:
    """What one machine says of itself."""

    host: str
    first_rank: int
    ranks: int
    problems: list[str]
    address: str  # towards the first machine; "" where the name is unknown
    view: dict[str, str] = field(default_factory=dict)  # what must be the same everywhere, by name

    def __str__(self) -> str:
        last = self.first_rank + self.ranks - 1
        return f"{self.host} (rank{f's {self.first_rank} to {last}' if self.ranks > 1 else f' {last}'})"


def check_machines(run: Run | None, problem: str | None) -> None:
    """UserError on every rank of every machine that names those where something is wrong; called by all ranks.

    run: what this rank would train; None with `problem`, the message of the error that was met.
    """
    from torch.distributed import DistError, PrefixStore, rendezvous

    try:
        store = PrefixStore("before step 1", next(rendezvous("env://", timeout=_PATIENCE))[0])
        store.set_timeout(_PATIENCE)
        if speaks_for_machine():
            _report(store, run, problem)
        verdict = store.get("verdict").decode()
        _leave(store)
    except DistError as error:
        raise UserError(
            f"{socket.gethostname()}: the other machines do not answer ({first_line(error)}); their own output says why"
        ) from error
    if verdict:
        raise UserError(verdict)


def first_line(error: BaseException) -> str:
    """What an error of torch says, without its stack of C++ calls."""
    return str(error).strip().partition("\n")[0][:300]


def _report(store: Store, run: Run | None, problem: str | None) -> None:
    machine = int(os.environ["GROUP_RANK"])
    problems, probe = [problem] if problem else [], None
    if machine == 0:
        try:
            probe = _write_probe(run)
        except OSError as error:
            problems.append(explain_os_error(error) or str(error))
        store.set("probe", probe.name if probe else "")
    name = store.get("probe").decode()
    if machine and name and run is not None:
        problems += _unseen(run.workspace.root / name)
    report = _report_of(run, problems)
    store.set(f"report {machine}", json.dumps(dataclasses.asdict(report)))
    if machine == 0:
        reports = [Report(**json.loads(store.get(f"report {number}"))) for number in range(machines())]
        if probe:
            probe.unlink(missing_ok=True)
        store.set("verdict", judge(reports))


def _leave(store: Store) -> None:
    """The first machine holds the store, so it waits until all have read."""
    if not speaks_for_machine():
        return
    machine = int(os.environ["GROUP_RANK"])
    store.set(f"read {machine}", "")
    if machine == 0:
        store.wait([f"read {number}" for number in range(machines())], _PATIENCE)


def _report_of(run: Run | None, problems: list[str]) -> Report:
    try:
        address = address_towards(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    except OSError:
        address = ""
    ranks, view = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), {}
    try:
        view = {} if run is None else view_of(run)
    except OSError as error:  # a file that is gone since the checks: the others must hear of it, or they wait
        problems = [*problems, explain_os_error(error) or str(error)]
    return Report(socket.gethostname(), int(os.environ["RANK"]), ranks, problems, address, view)


def view_of(run: Run) -> dict[str, str]:
    """What must be equal on all machines: name -> value or digest."""
    evaluation = run.recipe.evaluation
    held_out = ("held_out",) if evaluation.held_out_sequences else ()
    datasets = dict.fromkeys((*(blend.dataset for phase in run.recipe.phases for blend in phase.data), *held_out))
    files = {
        f"dataset {dataset}": [
            beside(prefix, end) for prefix in dataset_prefixes(dataset_path(dataset, run.data)) for end in (".bin", ".idx")
        ]
        for dataset in datasets
    }
    # Ranks that evaluate other texts would wait for each other for ever.
    files |= {f"evaluation.domains.{name}": domain_files(name, pattern) for name, pattern in evaluation.domains.items()}
    return {
        "the recipe": value_digest(dataclasses.asdict(run.recipe)),
        "steps done": str(run.done),
        **{f"the files of {name}": value_digest([(path.name, path.stat().st_size) for path in found]) for name, found in files.items()},
    }


def judge(reports: Sequence[Report]) -> str:
    """One message of all that is wrong, "" where nothing is. A problem that all machines have is said once."""
    told = [report.problems for report in reports]
    if told[0] and all(problems == told[0] for problems in told):
        return "\n  ".join(told[0])
    lines = [f"{report}: {problem}" for report in reports for problem in report.problems]
    first = reports[0]
    for report in reports[1:]:
        lines += [
            f"{report}: {name}: {value}, on {first} {first.view[name]}; all machines must see the same files"
            for name, value in report.view.items()
            if first.view.get(name, value) != value
        ]
    if len({report.host for report in reports}) > 1:
        lines += [
            f"{report}: MASTER_ADDR is {report.address} there, its own loopback (/etc/hosts?); set it to an address that all machines reach"
            for report in reports
            if report.address and is_loopback(report.address)
        ]
    return "\n  ".join([f"not all of the {len(reports)} machines can train this:", *lines]) if lines else ""


def _write_probe(run: Run | None) -> Path | None:
    """A file in the output folder that the other machines must see; None where there is nothing to train."""
    if run is None or run.is_done:
        return None
    path = run.workspace.root / f".seen-{secrets.token_hex(8)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def _unseen(probe: Path) -> list[str]:
    deadline = time.monotonic() + _SEEN_SECONDS
    while time.monotonic() < deadline:
        if probe.exists():
            return []
        time.sleep(0.2)
    return [f"{probe.parent}: a file that the first machine wrote there is not seen here; the output must lie on a shared file system"]


def lost_peer(error: RuntimeError) -> str | None:
    """What to say where a collective failed because another process is gone; None for any other error."""
    from torch.distributed import DistError

    text = first_line(error)
    if not isinstance(error, DistError) and not any(
        sign in text for sign in ("gloo/transport", "Connection closed by peer", "Socket Timeout")
    ):
        return None
    return (
        f"rank {os.environ.get('RANK', '0')} on {socket.gethostname()}: another process is gone or does not answer ({text}); "
        "its own machine's output says why; the same command goes on from the newest checkpoint"
    )
