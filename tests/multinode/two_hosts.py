"""Two hosts on one machine: network namespaces joined by a veth pair, each with an address and a host name of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SCRIPT = Path(__file__).parents[2] / "examples" / "pretrain_snowcoder.sh"


@dataclass(frozen=True)
class Host:
    """A namespace. `name` is also its host name, which no resolver knows, as on many a cluster."""

    name: str
    namespace: str
    address: str
    interface: str

    def start(self, command: list[str], *, hidden: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Run a command there; `hidden` is an empty folder to it."""
        hide = f"mount -t tmpfs none '{hidden}' || exit; " if hidden else ""
        inside = ["unshare", "--uts", "--mount", "sh", "-c", f'{hide}hostname {self.name} || exit; exec "$@"', "sh", *command]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *inside],
            env=_plain_environment() | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to every process there, as when a machine is taken away; its kernel closes the connections."""
        for number in subprocess.check_output(["ip", "netns", "pids", self.namespace], text=True).split():
            os.kill(int(number), signal.SIGKILL)

    def unplug(self) -> None:
        """No packet comes or goes any more, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", self.interface, "down")


def _plain_environment() -> dict[str, str]:
    """Nothing that a user would have set for clusters."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GLOO_", "NCCL_", "MASTER_", "SLURM_"))}
    return kept | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """alpha, 10.77.0.1, and beta, 10.77.0.2."""
    hosts = [
        Host(name, f"snow-{name}-{os.getpid()}", f"10.77.0.{number}", f"veth{number}")
        for number, name in ((1, "alpha"), (2, "beta"))
    ]  # fmt: skip
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
        ends = [f"s{os.getpid()}{letter}" for letter in "ab"]  # at most 15 characters
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end in zip(hosts, ends):
            _ip("link", "set", end, "netns", host.namespace, "name", host.interface)
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip("-n", host.namespace, "link", "set", interface, "up")
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            if Path("/run/netns", host.namespace).exists():
                host.kill()
                _ip("netns", "del", host.namespace)


def why_not() -> str:
    """ "" where namespaces can be made here, else the reason."""
    if missing := [name for name in ("ip", "unshare") if not shutil.which(name)]:
        return f"no {missing[0]} on the PATH"
    try:
        with two_hosts() as (alpha, _), TemporaryDirectory() as folder:
            process = alpha.start(["true"], hidden=Path(folder))
            told, _ = process.communicate(timeout=60)
            return f"no hosts: {told.strip() or process.returncode}" if process.returncode else ""
    except (subprocess.SubprocessError, OSError) as error:
        return f"no namespaces: {getattr(error, 'stderr', None) or error}".strip()


def start_training(hosts: tuple[Host, Host], *options: str, hidden: Path | None = None) -> list[subprocess.Popen[str]]:
    """The documented command on both hosts; `hidden` is hidden from the second."""
    return [
        host.start(
            ["bash", str(SCRIPT), *options],
            hidden=hidden if rank else None,
            NNODES="2",
            NODE_RANK=str(rank),
            MASTER_ADDR=hosts[0].address,
        )
        for rank, host in enumerate(hosts)
    ]
