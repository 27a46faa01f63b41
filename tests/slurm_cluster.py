"""A real Slurm on this machine's loopback: a controller and its nodes, without installing anything and without other users' rights.

The binaries come from the PATH, or from Debian's packages unpacked into ~/.cache/megatron_snow/slurm:

    mkdir -p ~/.cache/megatron_snow/slurm && cd ~/.cache/megatron_snow/slurm
    apt-get download slurmctld slurmd slurm-client slurm-wlm-basic-plugins libhwloc15 libmunge2 liblua5.1-0
    for package in *.deb; do dpkg-deb -x $package .; done
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNPACKED = Path.home() / ".cache" / "megatron_snow" / "slurm"

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire={requeue_seconds}
CryptoType=crypto/none
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MaxArraySize=8
KillWait=5
MinJobAge=10
InactiveLimit=0
ReturnToService=2
SchedulerParameters=sched_min_interval=100000,sched_interval=1
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=1000 State=UNKNOWN\n"


def why_not() -> str:
    """ "" where a Slurm can be started here, else the reason."""
    if os.geteuid() != 0:
        return "slurmd needs root"
    return "" if _binary("slurmctld") and _binary("slurmd") and _binary("sbatch") else f"no Slurm on the PATH or in {UNPACKED}"


def _binary(name: str) -> str | None:
    places = [UNPACKED / "usr" / place / name for place in ("sbin", "bin")]
    unpacked = [path for place in places for path in (place, place.with_name(f"{name}-wlm")) if path.is_file()]
    return shutil.which(name) or (str(unpacked[0]) if unpacked else None)


def _plugins() -> Path:
    installed = Path("/usr/lib/x86_64-linux-gnu/slurm-wlm")
    return installed if installed.is_dir() else UNPACKED / "usr/lib/x86_64-linux-gnu/slurm-wlm"


@contextmanager
def slurm_cluster(folder: Path, nodes: int = 1, requeue_seconds: int = 120) -> Iterator[dict[str, str]]:
    """Start Slurm below `folder`; yields the environment in which sbatch, squeue and scancel reach it.

    Each of the nodes is this machine. requeue_seconds: how long a requeued job waits, Slurm's `cred_expire`.
    """
    host = socket.gethostname().partition(".")[0]
    names = [host] if nodes == 1 else [f"{host}-{number}" for number in range(nodes)]
    (folder / "state").mkdir(parents=True)
    for name in names:
        (folder / f"spool-{name}").mkdir()
    text = CONFIGURATION.format(host=host, folder=folder, plugins=_plugins(), controller_port=_port(), requeue_seconds=requeue_seconds)
    text += "".join(NODE.format(name=name, host=host, port=_port(), cores=os.cpu_count()) for name in names)
    (folder / "slurm.conf").write_text(text)
    environment = os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "LD_LIBRARY_PATH": f"{_plugins()}:{_plugins().parent}",
        "PATH": f"{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin:{os.environ['PATH']}",
    }
    configured = ["-f", str(folder / "slurm.conf")]
    commands = [[_binary("slurmctld"), "-D", "-c", *configured]]
    commands += [[_binary("slurmd"), "-D", *configured, "-N", name, "-d", _binary("slurmstepd")] for name in names]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    try:
        _wait_for_nodes(environment, folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", "root"], env=environment, check=False, capture_output=True)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _wait_for_nodes(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = subprocess.run(["sinfo", "--noheader", "--format", "%t"], env=environment, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    raise AssertionError(f"Slurm did not come up: {answer.stdout}{answer.stderr}\n{logs}")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
