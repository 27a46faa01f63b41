"""What a file is for: code, test, documentation, configuration or build; by its path and language alone."""

from __future__ import annotations

import posixpath
import re
from typing import Literal

Role = Literal["code", "test", "documentation", "configuration", "build"]

_TEST_FOLDERS = re.compile(r"(?:^|/)(?:tests?|__tests__|specs?|testdata|test[-_]data|fixtures|unit[-_]?tests)/", re.IGNORECASE)
_TEST_NAMES = re.compile(r"(?:^test_|^tests?\.|_tests?\.|_spec\.|\.tests?\.|\.spec\.|Tests?\.|^conftest\.py$|\.t$)")
_DOCUMENTATION_FOLDERS = re.compile(r"(?:^|/)(?:docs?|documentation|man|manual|tutorials?|javadocs?)/", re.IGNORECASE)
_BUILD_NAMES = re.compile(
    r"^(?:makefile(?:[.-].*)?|gnumakefile|cmakelists\.txt|dockerfile(?:[.-].*)?|setup\.py|build\.gradle.*|settings\.gradle.*|pom\.xml|build\.xml|configure(\.ac|\.in)?"
    r"|rakefile|gemfile|.*\.gemspec|build\.rs|cargo\.toml|package\.json|pyproject\.toml|meson\.build|sconstruct|sconscript|build(\.bazel)?|workspace"
    r"|gulpfile\..*|gruntfile\..*|webpack\..*|rollup\..*|.*\.(?:mk|cmake|gradle|m4|am|csproj|vcxproj|sln))$"
)  # fmt: skip
_BUILD_LANGUAGES = frozenset(("Makefile", "CMake", "Dockerfile", "M4", "M4Sugar", "Meson", "Starlark", "Gradle", "Ninja"))
_DOCUMENTATION_LANGUAGES = frozenset(("Markdown", "reStructuredText", "AsciiDoc", "Text", "TeX", "Roff", "Roff Manpage", "Texinfo", "Org"))
_CONFIGURATION_LANGUAGES = frozenset(
    ("JSON", "YAML", "TOML", "INI", "XML", "Java Properties", "JSON with Comments", "JSON5", "EditorConfig")
)


def role_of(path: str, language: str) -> Role:
    """The role of a document. `path` is inside its repository, `language` linguist's name."""
    base = posixpath.basename(path)
    if _BUILD_NAMES.match(base.lower()) or language in _BUILD_LANGUAGES:
        return "build"
    if _TEST_FOLDERS.search(path) or _TEST_NAMES.search(base):
        return "test"
    if language in _DOCUMENTATION_LANGUAGES or _DOCUMENTATION_FOLDERS.search(path):
        return "documentation"
    return "configuration" if language in _CONFIGURATION_LANGUAGES else "code"
