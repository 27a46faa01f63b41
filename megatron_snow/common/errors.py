"""What a user can mend is a UserError: one message, exit code 2, no traceback."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Callable, Iterable

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what a shell expects

_REMEDIES = {
    errno.ENOSPC: "no space left on the device; free some or choose another --output, then run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some or choose another --output, then run the same command again",
    errno.ENOENT: "no such file or folder; check the path",
    errno.EACCES: "permission denied; check the owner and the mode",
    errno.EROFS: "the file system is read-only; choose another --output",
    errno.EEXIST: "there is a file of this name; choose another --output, or move it away",
    errno.EISDIR: "this is a folder where a file is expected",
    errno.ENOTDIR: "this is a file where a folder is expected",
}


class UserError(ValueError):
    """A mistake in what the user gave: the message names the file, key and value, and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the known name nearest to `name`, else ''."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


def explain_os_error(error: OSError) -> str | None:
    """One line for an operating system error that a user can mend, None for any other."""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.filename or 'output'}: {remedy}" if remedy else None


def exit_code_of(main: Callable[[], int | None]) -> int:
    """Run `main`; turn user errors and interrupts into one message and an exit code."""
    try:
        return main() or 0
    except UserError as error:
        message: str | None = str(error)
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run the same command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output left (`| head`)
        sys.stderr.close()
        return 0
    except OSError as error:
        message = explain_os_error(error)
        if message is None:
            raise
    print(f"error: {message}", file=sys.stderr)
    return EXIT_USER_ERROR
