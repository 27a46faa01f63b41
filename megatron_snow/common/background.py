"""A process that works beside a more important one: lowest priority, gone when the other is gone.

    python -m megatron_snow.common.background PID COMMAND...

PID is who starts it. Priority and the wish to die are set here and kept by what is executed, and not between fork and exec of the
starter: a fork of a training process copies the page tables of all its memory, which `subprocess` avoids where nothing runs between.
"""

from __future__ import annotations

import os
import sys

from megatron_snow.common.processes import die_with_parent

_NICE = 19


def main(parent: int, command: list[str]) -> None:
    """Become the command; does not return."""
    die_with_parent()
    if os.getppid() != parent:  # it went before we asked
        sys.exit(1)
    os.nice(_NICE)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
