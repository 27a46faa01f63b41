"""Repositories whose owners want their code left out: a list that a person keeps, honoured when documents are collected."""

from __future__ import annotations

import re
from pathlib import Path

from megatron_snow.common.errors import UserError

_OWNER_AND_NAME = ("github.com", "codeberg.org", "bitbucket.org")  # of all that follows, where others have groups in groups
_ADDRESS = re.compile(
    rf"(?:[a-z+]+://(?:[^@/]*@)?|[^@/:]+@|(?={'|'.join(map(re.escape, _OWNER_AND_NAME))}))(?:www\.)?(?P<host>[^/:]*)(?::\d+(?=/))?[/:]?"
)


def read_opt_out(path: Path) -> frozenset[str]:
    """The repositories of an opt-out list, in lower case: compare `repository.lower()`, as hosts take owner/name without case.

    One name a line, as `repository` has it ("owner/name", "python:numpy"); what follows # and blank lines are left out. Of an
    address (https://host/owner/name, git@host:owner/name.git, a page of the repository) owner/name counts. UserError for a
    file that is missing or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"corpus.opt_out: {path}: no such file; give a text file with a repository a line") from error
    except UnicodeDecodeError as error:
        raise UserError(f"corpus.opt_out: {path}: not UTF-8 text ({error.reason}); give a text file with a repository a line") from error
    return frozenset(name for line in lines if (name := _name(line)))


def _name(line: str) -> str:
    name = line.partition("#")[0].strip().lower()
    if address := _ADDRESS.match(name):
        name = re.split(r"\?|/-/", name[address.end() :])[0]
        if address["host"] in _OWNER_AND_NAME:
            name = "/".join(name.split("/")[:2])
    return name.rstrip("/").removesuffix(".git")
