"""Roles by path and language, and lists of repositories that opted out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.roles import role_of
from megatron_snow.corpus.opt_out import read_opt_out


@pytest.mark.parametrize(
    ("path", "language", "role"),
    [
        ("src/a.py", "Python", "code"),
        ("contest.py", "Python", "code"),
        ("latest/a.go", "Go", "code"),
        ("src/testing.rs", "Rust", "code"),
        ("protest/a.py", "Python", "code"),
        ("tests/a.py", "Python", "test"),
        ("src/test_a.py", "Python", "test"),
        ("src/a_test.go", "Go", "test"),
        ("src/ATest.java", "Java", "test"),
        ("src/Contest.java", "Java", "code"),
        ("src/a.spec.ts", "TypeScript", "test"),
        ("spec/a_spec.rb", "Ruby", "test"),
        ("t/basic.t", "Perl", "test"),
        ("src/__tests__/a.js", "JavaScript", "test"),
        ("conftest.py", "Python", "test"),
        ("blog/tests.py", "Python", "test"),  # Django's
        ("attests.py", "Python", "code"),
        ("tests/Makefile", "Makefile", "build"),
        ("tests/data.json", "JSON", "test"),
        ("docs/conf.py", "Python", "documentation"),
        ("README.md", "Markdown", "documentation"),
        ("man/a.1", "Roff", "documentation"),
        ("config.yaml", "YAML", "configuration"),
        (".github/workflows/a.yml", "YAML", "configuration"),
        ("setup.py", "Python", "build"),
        ("Makefile.in", "Makefile", "build"),
        ("makefile_writer.py", "Python", "code"),
        ("dockerfile_parser.go", "Go", "code"),
        ("a/CMakeLists.txt", "CMake", "build"),
        ("a.cmake", "CMake", "build"),
        ("package.json", "JSON", "build"),
        ("pom.xml", "Maven POM", "build"),
        ("Cargo.toml", "TOML", "build"),
        ("build.gradle.kts", "Gradle Kotlin DSL", "build"),
    ],
)
def test_role(path: str, language: str, role: str) -> None:
    assert role_of(path, language) == role


def test_roles_of_the_standard_library() -> None:
    import sysconfig

    root = Path(sysconfig.get_path("stdlib"))
    paths = [
        path.relative_to(root).as_posix()
        for package in ("email", "unittest", "idlelib", "ctypes")
        for path in (root / package).rglob("*.py")
    ]
    roles = Counter(role_of(path, "Python") for path in paths)
    assert set(roles) <= {"code", "test"}
    assert roles["code"] > 30
    assert role_of("unittest/case.py", "Python") == "code"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("git@github.com:A/B.git", "a/b"),
        ("ssh://git@host.org:2222/a/b.git", "a/b"),
        ("https://github.com/a/b/tree/main/src", "a/b"),
        ("https://github.com/a/b?tab=readme", "a/b"),
        ("github.com/a/b/", "a/b"),
        ("https://www.github.com/a/b#readme", "a/b"),
        ("https://gitlab.com/group/inner/b/-/tree/main", "group/inner/b"),
        ("a/b", "a/b"),
        ("crate:serde", "crate:serde"),
        ("npm:@scope/name", "npm:@scope/name"),
    ],
)
def test_a_line_of_an_opt_out_list(line: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "opt_out.txt"
    path.write_text(line)
    assert read_opt_out(path) == {name}


def test_an_opt_out_list(tmp_path: Path) -> None:
    path = tmp_path / "opt_out.txt"
    path.write_text("# who asked\nOwner/Name\n\n  python:numpy  # by mail\nhttps://github.com/Other/Thing.git\ngit.example.org/not/a-url\n")
    assert read_opt_out(path) == {"owner/name", "python:numpy", "other/thing", "git.example.org/not/a-url"}


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_a_list_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "opt_out.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"corpus\.opt_out: .*opt_out\.txt"):
        read_opt_out(path)
