"""Git checkouts: tracked files, commit, date and remote; nothing of the checkout is run, nothing outside it is read."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from megatron_snow.config import Source
from megatron_snow.corpus.sources import Limits, RawFile, git, list_parts, read_part
from megatron_snow.corpus.sources.git import name_of_remote, read_checkout

if not shutil.which("git"):
    pytest.skip("git is not installed", allow_module_level=True)

DATE = "2020-02-03T04:05:06+02:00"


def run(root: Path, *command: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}
    environment = {**os.environ, **who, "GIT_COMMITTER_DATE": DATE, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def checkout(root: Path, remote: str = "https://user:secret@github.com/owner/name.git", name: str = "a.py") -> Path:
    root.mkdir(parents=True)
    run(root, "init", "-q", "-b", "main")
    (root / name).write_text("x = 1\n")
    (root / ".gitignore").write_text("ignored.py\n")
    run(root, "add", ".")
    run(root, "commit", "-q", "-m", "first")
    if remote:
        run(root, "remote", "add", "origin", remote)
    return root


def files_of(path: Path) -> list[RawFile]:
    return [raw for part in list_parts([Source("folder", str(path))]) for raw in read_part(part, Limits(1_000_000))]


def test_tracked_files_with_commit_date_and_remote(tmp_path: Path) -> None:
    root = checkout(tmp_path / "in" / "clone")
    (root / "ignored.py").write_text("x = 2\n")
    (root / "untracked.py").write_text("x = 3\n")
    (raw,) = [raw for raw in files_of(tmp_path / "in") if raw.path.endswith(".py")]
    assert (raw.repository, raw.path, raw.data) == ("owner/name", "a.py", b"x = 1\n")
    assert (raw.revision, raw.date) == (run(root, "rev-parse", "HEAD"), DATE)
    assert files_of(root) == files_of(tmp_path / "in")  # a folder that is a checkout itself


def test_worktree_and_checkout_without_remote_or_commit(tmp_path: Path) -> None:
    root = checkout(tmp_path / "main", remote="")
    (tmp_path / "in").mkdir()
    run(root, "worktree", "add", "-q", str(tmp_path / "in" / "tree"))
    assert (tmp_path / "in" / "tree" / ".git").is_file()
    (raw,) = [raw for raw in files_of(tmp_path / "in") if raw.path == "a.py"]
    assert (raw.repository, raw.revision) == ("tree", run(root, "rev-parse", "HEAD"))
    empty = tmp_path / "empty"
    empty.mkdir()
    run(empty, "init", "-q")
    known = read_checkout(empty)
    assert known is not None
    assert (known.files, known.revision, known.date, known.name) == ([], "", "", "")


def test_submodules_and_links_are_left_out_and_nothing_outside_is_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text("secret = 1\n")
    root = checkout(tmp_path / "in" / "clone")
    (root / "folder").mkdir()
    (root / "folder" / "secret.py").write_text("x = 1\n")
    os.symlink(outside / "secret.py", root / "link.py")
    checkout(root / "module", name="inner.py")
    run(root, "add", ".")
    run(root, "commit", "-q", "-m", "second")
    assert run(root, "ls-files", "--stage", "module").startswith("160000")
    assert {raw.path for raw in files_of(tmp_path / "in") if raw.path.endswith(".py")} == {"a.py", "folder/secret.py"}
    shutil.rmtree(root / "folder")
    os.symlink(outside, root / "folder")  # tracked paths now lead outside
    assert {raw.path for raw in files_of(tmp_path / "in") if raw.path.endswith(".py")} == {"a.py"}


def test_nothing_that_a_checkout_configures_is_run(tmp_path: Path) -> None:
    root = checkout(tmp_path / "in" / "clone")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    hooks = root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout"):
        shutil.copy(trap, hooks / hook)
    for key in (
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "gpg.program",
        "core.gitProxy",
        "filter.x.smudge",
        "diff.x.textconv",
    ):
        run(root, "config", key, str(trap))
    run(root, "config", "log.showSignature", "true")
    run(root, "config", "alias.ls-files", f"!{trap}")
    (root / ".gitattributes").write_text("* filter=x diff=x\n")
    assert [raw.path for raw in files_of(tmp_path / "in") if raw.path == "a.py"]
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("key", ["remote.origin.url", "remote.origin.uploadpack"])
def test_nothing_is_fetched_whatever_protocols_a_checkout_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(git, "_NO_FETCH", {name: value for name, value in git._NO_FETCH.items() if name != "GIT_NO_LAZY_FETCH"})
    root = checkout(tmp_path / "in" / "clone", remote="file:///nowhere")
    (tmp_path / "trap.sh").write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    (tmp_path / "trap.sh").chmod(0o755)
    for name in ("protocol.allow", "protocol.ext.allow", "protocol.file.allow", "remote.origin.promisor"):
        run(root, "config", name, "true" if name.endswith("promisor") else "always")
    run(root, "config", "core.repositoryFormatVersion", "1")
    run(root, "config", "extensions.partialClone", "origin")
    run(root, "config", key, f"ext::{tmp_path}/trap.sh" if key.endswith("url") else str(tmp_path / "trap.sh"))
    head = run(root, "rev-parse", "HEAD")
    (root / ".git" / "objects" / head[:2] / head[2:]).unlink()  # git would fetch what a partial clone lacks
    assert {raw.repository for raw in files_of(tmp_path / "in") if raw.path == "a.py"} == {"clone"}
    assert not (tmp_path / "sprung").exists()


def test_odd_names_and_what_the_working_tree_lacks(tmp_path: Path) -> None:
    root = checkout(tmp_path / "in" / "clone", remote="")
    names = ["-rf.py", "a\nb.py", "gone.py", "d/e.py", "é.py"]
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x = 1\n")
    run(root, "add", ".")
    (root / "gone.py").unlink()
    assert {raw.path for raw in files_of(tmp_path / "in") if raw.path.endswith(".py")} == {"a.py", *names} - {"gone.py"}
    run(root, "commit", "-q", "-m", "second")
    run(root, "sparse-checkout", "set", "--sparse-index", "d")
    sparse = {path.relative_to(root).as_posix() for path in root.rglob("*.py")}
    assert {raw.path for raw in files_of(tmp_path / "in") if raw.path.endswith(".py")} == sparse
    run(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", str(tmp_path / "shallow" / "clone"))
    assert {(raw.revision, raw.date) for raw in files_of(tmp_path / "shallow")} == {(run(root, "rev-parse", "HEAD"), DATE)}


def test_broken_checkout_is_read_as_a_folder_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = checkout(tmp_path / "in" / "clone")
    (root / ".git" / "HEAD").write_text("damage")
    (root / "untracked.py").write_text("x = 3\n")
    found = {(raw.repository, raw.path, raw.revision) for raw in files_of(tmp_path / "in") if raw.path.endswith(".py")}
    assert found == {("clone", "a.py", ""), ("clone", "untracked.py", "")}
    assert f"note: {root}: git cannot read this checkout (fatal: not a git repository" in capsys.readouterr().err


def test_without_git_checkouts_are_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checkout(tmp_path / "in" / "clone")
    monkeypatch.setenv("PATH", str(tmp_path))
    git._note_once.cache_clear()
    assert {raw.repository for raw in files_of(tmp_path / "in")} == {"clone"}
    assert "note: git is not installed" in capsys.readouterr().err


def test_environment_of_the_caller_does_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(tmp_path / "other", remote="https://github.com/other/other")
    checkout(tmp_path / "in" / "clone")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert {raw.repository for raw in files_of(tmp_path / "in")} == {"owner/name"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/owner/name.git", "owner/name"),
        ("https://user:token@github.com/owner/name/", "owner/name"),
        ("git@github.com:owner/name.git", "owner/name"),
        ("ssh://git@example.org:2222/group/sub/name.git", "group/sub/name"),
        ("https://example.org/owner/name?token=x", "owner/name"),
        ("/srv/git/name.git", ""),
        ("ext::/srv/helper name", ""),
        ("file:///srv/git/name", ""),
        ("../name", ""),
        ("", ""),
    ],
)
def test_name_of_remote(url: str, name: str) -> None:
    assert name_of_remote(url) == name
