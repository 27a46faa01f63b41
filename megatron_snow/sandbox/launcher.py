"""Runs inside the sandbox's own Python: `python -S launcher.py SETTINGS < source`. Imports nothing of ours.

Three processes. The supervisor stays outside of the new process tree and watches wall time and memory.
Its child, process 1 of that tree, builds a file system that holds the Python installation, read-only, and
an empty /tmp, gives up the rest of the machine, and forks the runner. The runner drops every capability,
takes on the limits and executes the source as a script. When process 1 ends, the kernel kills what is left of the tree.

Nothing runs unless every step before it worked: a step that fails ends with the status "unavailable".
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from types import ModuleType
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
# <linux/sched.h>, <sys/mount.h>, <linux/prctl.h>, <linux/mount.h>
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PIDS, NEW_NET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 2, -100, 0x8000, 1, 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
MOUNT_SETATTR = 442  # the same on every architecture
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPABILITY_VERSION_3 = 0x20080522

# What a Python needs of the system beside its own folders; all read-only. No /proc, /sys, /etc, /home, /var.
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
NEW_ROOT = "/sys"  # any folder that exists and that nothing is taken from
RUNNER_ID = 1  # inside
UNUSED_ID = 2_000_000_000  # outside, plus the supervisor's process id: owns no file, and no other sandbox counts its processes
SCRATCH = "/tmp"
TICK_SECONDS = 0.02
DETAIL_BYTES = 2000


def check(result: int, what: str) -> int:
    """The result of a system call, or an OSError that says what it was for."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def explain(error: OSError) -> str:
    """What failed and why, without Python's error number."""
    return ": ".join(filter(None, (error.filename, error.strerror))) or str(error)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    encoded = kind.encode() if kind else None
    check(LIBC.mount(source.encode(), target.encode(), encoded, ctypes.c_ulong(flags), options.encode()), f"mount {source} on {target}")


# --- The supervisor ----------------------------------------------------------------------------


def main() -> NoReturn:
    """Set up, run, and print one JSON object: status, detail, seconds."""
    settings = json.loads(sys.argv[1])
    source = sys.stdin.buffer.read()
    try:
        outcome = supervise(settings, source)
    except OSError as error:
        outcome = {"status": "unavailable", "detail": explain(error), "seconds": 0.0}
    os.write(1, json.dumps(outcome).encode())
    os._exit(0)


def supervise(settings: dict[str, Any], source: bytes) -> dict[str, Any]:
    """Enter new user and process namespaces, start process 1 and watch it to its end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    settings["own_number"] = enter_user_namespace(os.geteuid(), os.getegid())
    (ready, ready_end), (verdict, verdict_end), (alive, alive_end) = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(alive_end)
        initialise(settings, source, ready_end, verdict_end, alive)
    os.close(ready_end)
    os.close(verdict_end)
    problem = os.read(ready, DETAIL_BYTES)  # empty once the runner is about to start
    started = time.monotonic()
    if problem:
        raise OSError(problem.decode(errors="replace"))
    broken = watch(child, started + settings["timeout_seconds"], settings["memory_bytes"])
    seconds = time.monotonic() - started
    os.kill(child, signal.SIGKILL)  # all of the tree goes with it; waitpid returns when it has gone
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status, detail = broken or judge(code, os.read(verdict, DETAIL_BYTES))
    return {"status": status, "detail": detail, "seconds": seconds}


def enter_user_namespace(user: int, group: int) -> bool:
    """unshare, and let a helper that stayed outside write the maps; True when the runner has a number of its own."""
    supervisor = os.getpid()
    (go, go_end), (done, done_end) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(go_end)
        os.read(go, 1)
        try:
            write_maps(supervisor, user, group)
        except OSError as error:
            os.write(done_end, f"user namespace: {explain(error)}".encode())
        os._exit(0)
    os.close(done_end)
    check(LIBC.unshare(NEW_USER | NEW_PIDS), "user namespace")
    os.close(go_end)
    problem = os.read(done, DETAIL_BYTES)
    os.wait()
    if problem:
        raise OSError(problem.decode())
    with open("/proc/self/uid_map") as file:
        return len(file.readlines()) == 2


def write_maps(process: int, user: int, group: int) -> None:
    """Our own number as 0, and where root may (not in a container's own namespace) a second one that owns nothing."""
    folder = f"/proc/{process}"
    if user == 0:
        try:
            for name in ("uid_map", "gid_map"):
                write(f"{folder}/{name}", f"0 0 1\n{RUNNER_ID} {UNUSED_ID + process} 1\n")
            return
        except PermissionError:
            pass
    write(f"{folder}/setgroups", "deny")
    write(f"{folder}/uid_map", f"0 {user} 1\n")
    write(f"{folder}/gid_map", f"0 {group} 1\n")


def write(path: str, text: str) -> None:
    """One write, as the kernel wants it for these files."""
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def watch(child: int, deadline: float, memory_bytes: int) -> tuple[str, str] | None:
    """Wait for process 1; the limit that was broken first, or None when it ended by itself."""
    while True:
        if signal.sigtimedwait({signal.SIGCHLD}, TICK_SECONDS) is not None and os.waitid(
            os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            return None
        if time.monotonic() > deadline:
            return "timeout", "wall time"
        if resident_bytes(child) > memory_bytes:
            return "killed", f"its processes together held over {memory_bytes} bytes of memory"


def resident_bytes(root: int) -> int:
    """Resident memory of all below process 1; RLIMIT_AS alone would bound each process by itself."""
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children") as file:
                    waiting += map(int, file.read().split())
            with open(f"/proc/{process}/statm") as file:
                total += int(file.read().split()[1]) * resource.getpagesize() if process != root else 0
        except OSError:  # it ended meanwhile
            continue
    return total


def judge(code: int, verdict: bytes) -> tuple[str, str]:
    """Status and detail from the exit code of process 1 and the runner's own word."""
    if code == 0 and verdict:
        return ("passed" if verdict[:1] == b"p" else "failed"), verdict[1:].decode(errors="replace")
    if code > 128 and code - 128 == signal.SIGXCPU:
        return "timeout", "CPU time"
    if code > 128:
        return "killed", f"by {signal.Signals(code - 128).name}"
    return "failed", "ended before its last line"


# --- Process 1 ---------------------------------------------------------------------------------


def initialise(settings: dict[str, Any], source: bytes, ready: int, verdict: int, alive: int) -> NoReturn:
    """Build the sandbox, fork the runner, reap until it ends; the exit code tells how it ended."""
    try:
        check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        os.set_blocking(alive, False)
        try:
            if os.read(alive, 1) == b"":  # the supervisor died before it could take us along
                os._exit(1)
        except BlockingIOError:
            pass
        check(LIBC.unshare(NEW_MOUNTS | NEW_NET | NEW_IPC | NEW_UTS | NEW_CGROUP), "namespaces")
        write("/proc/self/oom_score_adj", "1000")  # should memory run out, this goes first
        build_view(settings["folders"], settings["scratch_bytes"])
        runner = os.fork()
    except OSError as error:
        os.write(ready, explain(error).encode())
        os._exit(1)
    if runner == 0:
        run(settings, source, ready, verdict)
    os.close(ready)
    os.close(verdict)
    while True:
        process, status = os.wait()
        if process == runner:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def build_view(folders: list[str], scratch_bytes: int) -> None:
    """A root of our own: the system and Python folders, four devices, an empty /tmp; the old root is gone."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", NEW_ROOT, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=1k,mode=755")
    for path in (*SYSTEM, *DEVICES, *folders):
        show(path)
    os.makedirs(NEW_ROOT + SCRATCH, exist_ok=True)
    os.chdir(NEW_ROOT)
    check(LIBC.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    check(LIBC.umount2(b".", MNT_DETACH), "umount")
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    check(LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, attributes, ctypes.sizeof(attributes)), "read-only root (Linux 5.12)")
    mount("tmpfs", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, f"size={scratch_bytes},nr_inodes=4k,mode=1777")
    os.chdir(SCRATCH)


def show(path: str) -> None:
    """Bind a file or folder of the machine at the same place of the new root; links are copied as links."""
    target = NEW_ROOT + path
    if not os.path.lexists(path) or os.path.lexists(target):
        return  # not on this system, or inside a folder that is already shown
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    mount(path, target, None, MS_BIND | MS_REC)


# --- The runner --------------------------------------------------------------------------------


def run(settings: dict[str, Any], source: bytes, ready: int, verdict: int) -> NoReturn:
    """Take on the limits, drop all rights, execute the source as a script and say how it went."""
    try:
        os.setsid()
        set_limits(settings)
        drop_rights(settings["own_number"])
        keep_open(ready, verdict)
        install_filter(bytes.fromhex(settings["filter"]))
    except OSError as error:
        os.write(ready, explain(error).encode())
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    sys.path[:] = sys.path[1:] + settings["search"]  # less the folder of this file
    sys.argv[:] = ["solution.py"]
    module = sys.modules["__main__"] = ModuleType("__main__")
    runner = os.getpid()
    sys.setrecursionlimit(sys.getrecursionlimit() + 6)  # our frames and exec, which a script would not have below it
    os.close(ready)
    try:
        exec(compile(source, "solution.py", "exec"), module.__dict__)
        report = b"p"
    except BaseException as error:
        report = f"f{type(error).__name__}: {error}".encode(errors="replace")
    if os.getpid() == runner:  # a child that the source forked has no say
        os.write(verdict, report[:DETAIL_BYTES])
    os._exit(0)


def set_limits(settings: dict[str, Any]) -> None:
    """Bounds of each process; wall time and the memory of all together are the supervisor's."""
    seconds = int(settings["timeout_seconds"]) + 1
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_FSIZE: settings["scratch_bytes"],
        resource.RLIMIT_NPROC: settings["processes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, bound in limits.items():
        hard = resource.getrlimit(kind)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound + 1 if kind == resource.RLIMIT_CPU and bound != hard else bound))


def drop_rights(own_number: bool) -> None:
    """Leave the groups and our user where there is a number to change to, drop every capability, for good."""
    if own_number:
        os.setgroups([])
        os.setresgid(RUNNER_ID, RUNNER_ID, RUNNER_ID)
    for capability in range(64):  # the kernel refuses numbers that it does not know
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if own_number:
        os.setresuid(RUNNER_ID, RUNNER_ID, RUNNER_ID)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    check(LIBC.capset(header, none), "capset")
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def keep_open(*descriptors: int) -> None:
    """Point 0, 1 and 2 at /dev/null and close everything but `descriptors`."""
    null = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    low = 3
    for descriptor in sorted(descriptors):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(low, 4096))


def install_filter(program: bytes) -> None:
    """Let the kernel refuse the system calls that `seccomp` lists, in this process and all that come from it."""
    instructions = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    pointer = ctypes.byref(Program(len(program) // 8, ctypes.addressof(instructions)))
    check(LIBC.prctl(PR_SET_SECCOMP, 2, pointer, 0, 0), "seccomp")


if __name__ == "__main__":
    main()
