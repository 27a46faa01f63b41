"""Files after what they import (DeepSeek-Coder, arXiv 2401.14196, Algorithm 1).

Names are resolved among the files at hand, which are of one repository; what leads out of it is no edge.
"""

from __future__ import annotations

import heapq
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

_PYTHON_ENDINGS = (".py", ".pyi")
_SCRIPT_ENDINGS = (".ts", ".tsx", ".d.ts", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
_WRITTEN_AS = {".js": (".ts", ".tsx"), ".mjs": (".mts",), ".cjs": (".cts",), ".jsx": (".tsx",)}  # TypeScript names the compiled file


def import_order(paths: Sequence[str], imports: Sequence[Sequence[str]]) -> list[int]:
    """Numbers of the files (distinct paths) in an order in which dependencies come first.

    Component by component, each at the place of its first path; in a component the file with the fewest
    dependencies still to come, the first path among equals: so a cycle is entered where it costs least.
    """
    by_path = {path: number for number, path in enumerate(paths)}
    finder = _PythonFinder(paths)
    needs = [_targets(path, names, by_path, finder) - {number} for number, (path, names) in enumerate(zip(paths, imports))]
    needed_by: list[list[int]] = [[] for _ in paths]
    for number, targets in enumerate(needs):
        for target in targets:
            needed_by[target].append(number)
    ranks = {number: rank for rank, number in enumerate(sorted(range(len(paths)), key=paths.__getitem__))}
    return [number for component in _components(needs, needed_by, ranks) for number in _fewest_first(component, needs, needed_by, ranks)]


def _fewest_first(
    component: Iterable[int], needs: Sequence[set[int]], needed_by: Sequence[list[int]], ranks: Mapping[int, int]
) -> Iterator[int]:
    open_needs = {number: len(needs[number]) for number in component}
    heap = [(count, ranks[number], number) for number, count in open_needs.items()]
    heapq.heapify(heap)
    while heap:
        count, _, number = heapq.heappop(heap)
        if open_needs.get(number) != count:  # it has been given, or has fewer by now and stands further up
            continue
        del open_needs[number]
        yield number
        for other in needed_by[number]:
            if other in open_needs:
                open_needs[other] -= 1
                heapq.heappush(heap, (open_needs[other], ranks[other], other))


def _components(needs: Sequence[set[int]], needed_by: Sequence[list[int]], ranks: Mapping[int, int]) -> Iterator[list[int]]:
    """Files that hang together, whatever the direction; in the order of their first paths."""
    seen: set[int] = set()
    for first in ranks:
        if first in seen:
            continue
        seen.add(first)
        component, waiting = [], [first]
        while waiting:
            number = waiting.pop()
            component.append(number)
            fresh = [other for other in (*needs[number], *needed_by[number]) if other not in seen]
            seen.update(fresh)
            waiting += dict.fromkeys(fresh)
        yield component


def _targets(path: str, names: Iterable[str], by_path: Mapping[str, int], finder: _PythonFinder) -> set[int]:
    python = path.endswith(_PYTHON_ENDINGS)
    found = (finder.find(path, name) if python else _script(path, name, by_path) for name in names)
    return {by_path[target] for target in found if target is not None}


def _script(path: str, name: str, by_path: Mapping[str, int]) -> str | None:
    """The file that './name' in a JavaScript or TypeScript file means, as Node and tsc look for it."""
    base = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    stem, ending = posixpath.splitext(base)
    folder = "" if base == "." else f"{base}/"
    candidates = [base, *(stem + other for other in _WRITTEN_AS.get(ending, ())), *(base + ending for ending in _SCRIPT_ENDINGS)]
    return next((file for file in (*candidates, *(f"{folder}index{ending}" for ending in _SCRIPT_ENDINGS)) if file in by_path), None)


class _PythonFinder:
    """Finds modules in a repository whose sys.path nobody knows.

    A folder may be on the path where it holds the module's first part and is no package itself; of several the nearest
    above the importing file counts, then the shallowest, then the first by name.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._modules: dict[str, str] = {}  # path without its ending, or of the package's folder -> file
        self._packages: set[str] = set()
        for path in sorted(path for path in paths if path.endswith(_PYTHON_ENDINGS)):  # a.py before a.pyi
            folder, _, name = posixpath.splitext(path)[0].rpartition("/")
            if name == "__init__":
                self._packages.add(folder)
                self._modules[folder] = path  # a package comes before a module of its name
            else:
                self._modules.setdefault(posixpath.splitext(path)[0], path)
        self._roots = self._find_roots()
        self._root_from: dict[tuple[str, str], str] = {}  # folder of a file and first part of a name -> root

    def _find_roots(self) -> Mapping[str, list[str]]:
        folders = {folder for module in self._modules for folder in _parents(module)}
        roots: dict[str, set[str]] = defaultdict(set)
        for place in (*self._modules, *folders):
            root, _, name = place.rpartition("/")
            if root not in self._packages:
                roots[name].add(root)
        return {name: sorted(found, key=lambda root: (root.count("/") + bool(root), root)) for name, found in roots.items()}

    def find(self, path: str, name: str) -> str | None:
        """The file that a name of `python_imports` leads to from the file `path`; None where it leads out."""
        module = name.lstrip(".")
        levels = len(name) - len(module)
        parts = [part for part in module.split(".") if part and part != "*"]
        if levels:
            above = path.split("/")[:-levels]
            return self._longest("/".join(above), parts, least=len(parts) - 1) if len(path.split("/")) >= levels else None
        if not parts or parts[0] not in self._roots:
            return None
        return self._longest(self._root_of(path, parts[0]), parts, least=max(1, len(parts) - 1))

    def _root_of(self, path: str, name: str) -> str:
        key = path.rpartition("/")[0], name
        if key not in self._root_from:
            above, roots = {*_parents(path), ""}, self._roots[name]
            self._root_from[key] = max((root for root in roots if root in above), key=len, default=roots[0])
        return self._root_from[key]

    def _longest(self, root: str, parts: Sequence[str], least: int) -> str | None:
        """The module of all parts, or of all but the last, which may be a name inside of it."""
        for count in range(len(parts), max(0, least) - 1, -1):
            place = "/".join([root, *parts[:count]] if root else parts[:count])
            if place in self._modules:
                return self._modules[place]
        return None


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
