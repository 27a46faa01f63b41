"""What git knows of a checkout: its tracked files, commit, date and remote. Nothing of the checkout is run.

A checkout may come from anyone, and its own configuration can name programs (a file system monitor, hooks,
signature checks, remote helpers). Only plumbing is called, with those turned off.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import NamedTuple

_OPTIONS = ("--no-pager", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
# A partial clone fetches what it lacks, by any program that its configuration names: `protocol.ext.allow` there outweighs what the
# command line says of all protocols, GIT_ALLOW_PROTOCOL outweighs both. The first of the two is known from git 2.39.4 on.
_NO_FETCH = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
_SECONDS = 600  # for one command; the index of the largest repositories (millions of files) is read in some seconds

# https://user:token@host:22/owner/name.git and user@host:owner/name.git; the host and what stands before it are not kept.
_URL = re.compile(r"(?:(?:https?|ssh|git)://(?:[^/@]*@)?[^/]+/|(?:[^/@:]+@)?[^/:]+:(?![/:]))(?P<name>.+)")
_COMMITTER = re.compile(rb"^committer .*> (\d+) ([+-])(\d\d)(\d\d)$", re.MULTILINE)


class Checkout(NamedTuple):
    """What is taken from git."""

    files: list[str]  # tracked, relative to the checkout, with forward slashes
    revision: str  # of HEAD; "" before the first commit
    date: str  # the committer's, ISO 8601
    name: str  # "owner/name" of the remote called origin, or ""


def read_checkout(root: Path) -> Checkout | None:
    """What git says of a checkout; None, with a note, where there is no git or it cannot read the checkout."""
    try:
        files = run_git(root, "ls-files", "-z").split(b"\0")
        remote = run_git(root, "config", "--get", "remote.origin.url", fails=True)
        revision, date = _head(run_git(root, "cat-file", "--batch", given=b"HEAD\n"))
    except FileNotFoundError:
        _note_once("git is not installed: checkouts are read as plain folders, without commit, date and remote")
        return None
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        reason = said.decode("utf-8", "replace").strip().partition("\n")[0]
        print(f"note: {root}: git cannot read this checkout ({reason}); it is read as a plain folder", file=sys.stderr)
        return None
    return Checkout([os.fsdecode(name) for name in files if name], revision, date, name_of_remote(os.fsdecode(remote.strip())))


def name_of_remote(url: str) -> str:
    """owner/name of a remote's address, without host, user, token or ".git"; "" for a folder on a disk."""
    match = _URL.fullmatch(url)
    if not match:
        return ""
    name = match["name"].partition("?")[0].strip("/").removesuffix(".git")
    return "/".join(part for part in name.split("/") if part not in ("", ".", "..", "~"))


def run_git(root: Path, *command: str, given: bytes = b"", fails: bool = False) -> bytes:
    """What a git command says of a checkout or a bare repository; CalledProcessError where it fails, unless `fails`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = kept | _NO_FETCH | {
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1", "GIT_CEILING_DIRECTORIES": str(root.resolve().parent), "LC_ALL": "C",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *_OPTIONS, "-C", str(root), *command], input=given, capture_output=True, env=environment, timeout=_SECONDS, check=not fails
    )
    return done.stdout


def _head(answer: bytes) -> tuple[str, str]:
    """(commit, date) from `git cat-file --batch`; ("", "") where HEAD names no commit yet."""
    first, _, body = answer.partition(b"\n")
    match = _COMMITTER.search(body.partition(b"\n\n")[0])
    if b" commit " not in first or not match:
        return "", ""
    sign = -1 if match[2] == b"-" else 1
    offset = sign * timedelta(hours=int(match[3]), minutes=int(match[4]))
    try:
        date = datetime.fromtimestamp(int(match[1]), timezone(offset)).isoformat()
    except (ValueError, OverflowError):  # a commit may hold any number
        date = ""
    return first.split()[0].decode(), date


@cache
def _note_once(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
