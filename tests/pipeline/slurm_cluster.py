"""A real Slurm on this machine's loopback: a controller and a node, without installing anything and without other users' rights.

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
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=120
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
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MaxArraySize=8
KillWait=5
MinJobAge=10
InactiveLimit=0
ReturnToService=2
SchedulerParameters=sched_min_interval=100000,sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


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
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start Slurm below `folder`; yields the environment in which sbatch, squeue and scancel reach it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(
        host=host, folder=folder, plugins=_plugins(), controller_port=_port(), node_port=_port(), cores=os.cpu_count()
    )  # fmt: skip
    (folder / "slurm.conf").write_text(text)
    stepd = _binary("slurmstepd")
    libraries = f"{_plugins()}:{_plugins().parent}"
    environment = os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "LD_LIBRARY_PATH": libraries,
        "PATH": f"{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin:{os.environ['PATH']}",
    }
    controller = [_binary("slurmctld"), "-D", "-c", "-f", str(folder / "slurm.conf")]
    node = [_binary("slurmd"), "-D", "-f", str(folder / "slurm.conf"), "-N", host, "-d", stepd]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in (controller, node)
    ]
    try:
        _wait_for_node(environment, folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", "root"], env=environment, check=False, capture_output=True)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _wait_for_node(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 30
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
