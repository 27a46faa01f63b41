"""Code that tries to get out: each attempt is stopped and the machine is unharmed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from megatron_snow.sandbox import Outcome, run_python

MEBIBYTE = 1 << 20


def attack(source: str, seconds: float = 5.0, memory_bytes: int = 256 * MEBIBYTE) -> Outcome:
    return run_python(source, timeout_seconds=seconds, memory_bytes=memory_bytes)


def processes_with(marker: str) -> list[int]:
    """Processes of this machine that carry `marker` in their memory's command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_network_connection_to_a_listening_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        outcome = attack(f"import socket; socket.create_connection(('127.0.0.1', {port}))")
        with pytest.raises(TimeoutError):
            server.accept()
    assert outcome.status == "failed"
    assert "PermissionError" in outcome.detail


def test_unix_socket_of_the_machine(tmp_path: Path) -> None:
    name = f"\0megatron-snow-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)  # an abstract name: no file hides it, only the network namespace
        server.listen()
        outcome = attack(f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})")
    assert outcome.status == "failed"
    assert "ConnectionRefusedError" in outcome.detail


@pytest.mark.parametrize("path", ["/etc/attack", "/usr/attack", "/attack", "/dev/attack", f"{sys.prefix}/attack", "{folder}/attack"])
def test_writing_outside_of_the_scratch_folder(path: str, tmp_path: Path) -> None:
    path = path.format(folder=tmp_path)
    assert attack(f"open({path!r}, 'w').write('x')").status == "failed"
    assert not Path(path).exists()


def test_deleting_and_reading_files_of_the_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("kept")
    assert "FileNotFoundError" in attack(f"open({str(secret)!r}).read()").detail
    assert "FileNotFoundError" in attack(f"import os; os.unlink({str(secret)!r})").detail
    assert secret.read_text() == "kept"
    assert "Read-only" in attack("import json, shutil; shutil.rmtree(json.__path__[0])").detail
    assert Path(json.__file__).exists()
    hidden = [
        "/etc/passwd",
        "/etc/shadow",
        "/proc/self/environ",
        "/home",
        str(Path.home() / ".ssh"),
        str(Path.cwd() / "pyproject.toml"),
        "/var",
    ]
    outcome = attack(f"import os; seen = [p for p in {hidden!r} if os.path.exists(p)]; assert not seen, seen")
    assert outcome.status == "passed", outcome.detail


def test_scratch_folder_is_its_own_and_bounded() -> None:
    assert attack("import os; open('note', 'w').write('x'); assert os.listdir('/tmp') == ['note']").status == "passed"
    assert attack("import os; assert os.listdir('/tmp') == []").status == "passed"
    fill = "for n in range(9):\n    with open(f'big{n}', 'wb') as file: file.write(bytes(40 << 20))"
    assert "No space left" in attack(fill).detail
    assert (
        "File too large"
        in attack("import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); open('big', 'wb').truncate(1 << 40)").detail
    )


def test_environment_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_SECRET", "hunter2")
    assert attack("import os; assert 'hunter2' not in str(os.environ), 'leaked'").status == "passed"
    assert attack("import os; assert b'hunter2' not in open(f'/proc/{os.getppid()}/environ', 'rb').read()").status == "failed"


def test_fork_bomb() -> None:
    started = time.monotonic()
    outcome = attack("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", seconds=1.0, memory_bytes=512 * MEBIBYTE)
    assert outcome.status in ("timeout", "killed")
    assert time.monotonic() - started < 5
    assert processes_with("sandbox/launcher.py") == []


def test_memory_bomb_of_one_process() -> None:
    outcome = attack("x = []\nwhile True: x.append(bytearray(1 << 20))")
    assert (outcome.status, outcome.detail.split(":")[0]) == ("failed", "MemoryError")


def test_memory_bomb_of_many_processes() -> None:
    bomb = "import os, time\nfor _ in range(4):\n    if os.fork() == 0: x = bytearray(120 << 20); time.sleep(60)\ntime.sleep(60)"
    outcome = attack(bomb)
    assert outcome.status == "killed"
    assert "memory" in outcome.detail
    assert outcome.seconds < 4


def test_system_calls_around_the_bounds() -> None:
    assert "Operation not permitted" in attack("import os; os.memfd_create('x')").detail
    unshare = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); libc.unshare(0x10000000); raise OSError(ctypes.get_errno(), 'no')"
    )
    assert attack(unshare).detail == "PermissionError: [Errno 1] no"


@pytest.mark.parametrize("source", ["while True: pass", "import time; time.sleep(1000)", "import signal\nwhile True: signal.pause()"])
def test_endless(source: str) -> None:
    outcome = attack(source, seconds=0.5)
    assert outcome.status == "timeout"
    assert 0.5 <= outcome.seconds < 3


def test_ignoring_every_signal_does_not_help() -> None:
    source = """
import signal
for number in set(range(1, 65)) - {9, 19, 32, 33}:
    signal.signal(number, signal.SIG_IGN)
while True: pass
"""
    assert attack(source, seconds=0.5).status == "timeout"


def test_output_flood() -> None:
    outcome = attack("import sys\nwhile True: sys.stdout.write('x' * 1000000); sys.stderr.write('y' * 1000000)", seconds=1.0)
    assert outcome == Outcome("timeout", "wall time", outcome.seconds)
    assert len(attack("raise ValueError('z' * 10000000)").detail) <= 2000


def test_a_child_that_outlives() -> None:
    marker = f"outlive{os.getpid()}"
    daemon = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sh", ["sh", "-c", "sleep 60; : MARKER"])
    os._exit(0)
os.wait()
time.sleep(0.1)
"""
    assert attack(daemon.replace("MARKER", marker)).status == "passed"
    assert processes_with(marker) == []
    # Another run on this machine has launchers too: ours are our children, or orphans.
    launchers = [psutil.Process(pid).ppid() for pid in processes_with("sandbox/launcher.py")]
    assert not {1, os.getpid()} & set(launchers)


def test_signals_reach_nobody_outside() -> None:
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    bystander = subprocess.Popen(["sleep", "30"])
    source = """
import os, signal
for process in (OWN, OTHER, os.getppid(), 1, -1):
    try: os.kill(process, signal.SIGTERM)
    except OSError: pass
"""
    try:
        attack(source.replace("OWN", str(os.getpid())).replace("OTHER", str(bystander.pid)))
        assert bystander.poll() is None
        assert received == []
    finally:
        bystander.kill()
        bystander.wait()
        signal.signal(signal.SIGTERM, previous)


def test_no_rights_are_left() -> None:
    source = """
import os, socket
for call in (lambda: os.setgroups([]), lambda: os.chroot("/tmp"), lambda: os.mknod("disk", 0o60600, 0), lambda: socket.sethostname("x")):
    try: call()
    except PermissionError: continue
    raise SystemError("it was allowed")
"""
    outcome = attack(source)
    assert outcome.status == "passed", outcome.detail
