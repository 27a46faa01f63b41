"""Running code that nobody trusts. Start at `run_python`; `available` says whether this machine can.

The bounds are the kernel's: user, process, mount, network and IPC namespaces, a read-only root that holds
Python alone, dropped capabilities, resource limits, a seccomp filter (launcher.py, seccomp.py).
"""

from megatron_snow.sandbox.running import Outcome, SandboxUnavailable, available, run_many, run_python

__all__ = ["Outcome", "SandboxUnavailable", "available", "run_many", "run_python"]
