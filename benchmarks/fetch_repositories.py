"""Fetch real repositories in many languages from package registries, into a cache outside the tree.

    .venv/bin/python benchmarks/fetch_repositories.py            # the repositories of repositories.yaml
    .venv/bin/python benchmarks/fetch_repositories.py --large    # and a few of very much text

Debian packages that carry source come by `apt-get download` (no root), npm packages by `npm pack`, source
distributions from the package index that pip is configured for. Nothing is unpacked, built or run:
`collect-corpus --source archive:'CACHE/archives/npm/*'` reads the archives as they are.

    CACHE/archives/{debian,npm,pypi,large}/FILE
    CACHE/manifest.json      registry, name, version, file, bytes and sha256 of each package

What is there with its recorded sha256 is not fetched again, so an interrupted run goes on where it was, and
Debian's and unpinned packages stay at the version that was fetched; delete CACHE for the newest.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.request
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import yaml
from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
from packaging.version import InvalidVersion, Version

from megatron_snow.common.errors import UserError, exit_code_of
from megatron_snow.common.files import PARTIAL, commit
from megatron_snow.common.locks import FolderLock
from megatron_snow.common.records import MANIFEST, read_json, write_json

PACKAGES = Path(__file__).with_name("repositories.yaml")
_AT_ONCE = 4  # downloads: enough to hide a registry's latency, few enough for its rate limits
_TIMEOUT_SECONDS = 60.0
_TOOLS = {  # what a registry needs, and how to get it
    "debian": (("apt-get", "dpkg-deb"), "they come with Debian and Ubuntu, in a container too"),
    "npm": (("npm",), "it comes with Node.js: https://nodejs.org, or `apt-get install npm`"),
    "pypi": ((), ""),
}


class FetchError(Exception):
    """One package could not be fetched; the others can."""


@dataclass(frozen=True)
class Package:
    """What the list asks for. `version` "" is the registry's choice; `nested` names the archive inside that is wanted."""

    registry: str
    name: str
    version: str = ""
    nested: str = ""
    large: bool = False

    @property
    def folder(self) -> str:
        """Below archives/."""
        return "large" if self.large else self.registry


@dataclass(frozen=True)
class Entry:
    """What the manifest records of a package; `file` is relative to the cache."""

    registry: str
    name: str
    version: str
    file: str
    bytes: int
    sha256: str
    nested: str = ""


# Gets a package into an empty folder: the file and its version.
Fetcher = Callable[[Package, Path], tuple[Path, str]]


def default_cache() -> Path:
    """${XDG_CACHE_HOME:-~/.cache}/megatron_snow/repositories."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megatron_snow" / "repositories"


def main(argv: list[str] | None = None) -> int:
    """Fetch what the arguments ask for; 0 where enough of it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR", help="where to (default: %(default)s)")
    parser.add_argument("--packages", type=Path, default=PACKAGES, metavar="FILE", help="the list (default: %(default)s)")
    parser.add_argument("--large", action="store_true", help="fetch the section `large` too")
    args = parser.parse_args(argv)
    packages, minimum = read_packages(args.packages)
    packages = [package for package in packages if args.large or not package.large]
    started = time.monotonic()
    with FolderLock(args.cache, "fetch"):
        failures = fetch(packages, args.cache)
    _report(packages, failures, args.cache, minimum, time.monotonic() - started)
    return 0


def read_packages(path: Path) -> tuple[list[Package], int]:
    """(the packages of a list, how many repositories it asks for at least)."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        packages = [Package("debian", *_name_and_nested(item)) for item in tree.pop("debian", [])]
        packages += [Package("npm", *_name_and_version(text, "@")) for text in tree.pop("npm", [])]
        packages += [Package("pypi", *_name_and_version(text, "==")) for text in tree.pop("pypi", [])]
        packages += [Package("debian", *_name_and_nested(item), large=True) for item in tree.pop("large", [])]
        minimum = int(tree.pop("minimum"))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a list of packages ({' '.join(str(error).split())}); {PACKAGES} is one") from error
    if tree:
        raise UserError(f"{path}: {', '.join(tree)}: no such key; there are minimum, debian, npm, pypi and large")
    return packages, minimum


def _name_and_version(text: str, sign: str) -> tuple[str, str]:
    name, _, version = text[1:].partition(sign)  # from 1: the @ of @scope/name is part of the name
    return text[0] + name, version


def _name_and_nested(item: str | dict[str, str]) -> tuple[str, str, str]:
    """(name, no version: Debian's release decides, the archive inside that is wanted) of `NAME` or `NAME: ARCHIVE`."""
    ((name, nested),) = item.items() if isinstance(item, dict) else [(item, "")]
    return name, "", nested


def read_manifest(cache: Path) -> dict[tuple[str, str], Entry]:
    """The recorded packages by registry and name; their files may be gone."""
    path = cache / MANIFEST
    if not path.is_file():
        return {}
    try:
        entries = [Entry(**fields) for fields in read_json(path)["packages"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not a manifest of packages ({error}); delete it and run the same command again") from error
    return {(entry.registry, entry.name): entry for entry in entries}


def is_here(package: Package, entry: Entry | None, cache: Path) -> bool:
    """Whether a package was fetched as the list asks for it, and lies there unharmed."""
    if entry is None or entry.nested != package.nested or (package.version and package.version != entry.version):
        return False
    path = cache / entry.file
    return path.is_file() and path.stat().st_size == entry.bytes and _sha256(path) == entry.sha256


def fetch(packages: list[Package], cache: Path) -> dict[Package, str]:
    """Fetch what is not in the cache, a line a package; what failed, and why."""
    shutil.rmtree(cache / PARTIAL, ignore_errors=True)  # of a run that was killed
    entries = read_manifest(cache)
    wanted = [package for package in packages if not is_here(package, entries.get((package.registry, package.name)), cache)]
    failures = _without_tools(wanted)
    wanted = [package for package in wanted if package not in failures]
    print(f"{len(packages) - len(wanted) - len(failures)} of {len(packages)} packages are there, {len(wanted)} to fetch into {cache}")
    fetchers = _fetchers(cache, {package.registry for package in wanted})
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        futures = {pool.submit(_fetch_one, package, fetchers[package.registry], cache): package for package in wanted}
        for number, future in enumerate(as_completed(futures), 1):
            package = futures[future]
            line = f"[{number}/{len(wanted)}] {package.registry:<6} {package.name}"
            entry = _result(future)
            if isinstance(entry, str):
                failures[package] = entry
                print(f"{line}: failed", flush=True)
            else:
                _record(entry, entries, cache)
                print(f"{line} {entry.version}: {entry.bytes / 1e6:.2f} MB", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(cache / PARTIAL, ignore_errors=True)
    return failures


def _without_tools(packages: Iterable[Package]) -> dict[Package, str]:
    missing = {}
    for registry, (tools, remedy) in _TOOLS.items():
        absent = [tool for tool in tools if shutil.which(tool) is None]
        if absent:
            missing[registry] = f"{' and '.join(absent)} not found; {remedy}"
    return {package: missing[package.registry] for package in packages if package.registry in missing}


def _fetchers(cache: Path, registries: set[str]) -> dict[str, Fetcher]:
    known: dict[str, Callable[[], Fetcher]] = {
        "debian": lambda: from_debian,
        "npm": lambda: NpmRegistry(cache / PARTIAL / "npm-cache").fetch,
        "pypi": lambda: PythonIndex(**pip_settings()).fetch,
    }
    return {registry: known[registry]() for registry in registries}


def _fetch_one(package: Package, fetcher: Fetcher, cache: Path) -> Entry:
    folder = cache / PARTIAL / f"{package.folder}-{package.name.replace('/', '-')}"
    folder.mkdir(parents=True)
    path, version = fetcher(package, folder)
    if package.nested:
        path = extract_nested(path, package.nested)
    final = cache / "archives" / package.folder / path.name
    file, size = str(final.relative_to(cache)), path.stat().st_size
    entry = Entry(package.registry, package.name, version, file, size, _sha256(path), package.nested)
    final.parent.mkdir(parents=True, exist_ok=True)
    commit(path, final)
    shutil.rmtree(folder)
    return entry


def _result(future: Future[Entry]) -> Entry | str:
    try:
        return future.result()
    except FetchError as error:
        return str(error)
    except (OSError, HTTPException, tarfile.TarError) as error:  # the network, or a damaged package
        return f"{type(error).__name__}: {error}"


def _record(entry: Entry, entries: dict[tuple[str, str], Entry], cache: Path) -> None:
    old = entries.get((entry.registry, entry.name))
    entries[entry.registry, entry.name] = entry
    write_json(cache / MANIFEST, {"packages": [asdict(entries[key]) for key in sorted(entries)]})
    if old and old.file != entry.file:  # two versions in one folder would be read as two repositories
        (cache / old.file).unlink(missing_ok=True)


def from_debian(package: Package, folder: Path) -> tuple[Path, str]:
    """Fetch a Debian package; apt checks it against the signed index."""
    _run("apt-get", "download", package.name, folder=folder)
    path = _only_file(folder)
    return path, _run("dpkg-deb", "--field", str(path), "Version", folder=folder).strip()


def extract_nested(package: Path, pattern: str) -> Path:
    """The archive of that name out of a Debian package, called as the package is."""
    nested: Path | None = None
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if nested is None and member.isreg() and fnmatch.fnmatchcase(name, pattern):
                    ending = ".tar" + PurePosixPath(name).suffix if ".tar." in name else PurePosixPath(name).suffix
                    nested = package.with_name(package.stem + ending)
                    with open(nested, "wb") as file:
                        shutil.copyfileobj(cast(IO[bytes], tar.extractfile(member)), file)
        cast(IO[bytes], process.stdout).read()  # tar's padding: dpkg-deb fails where nobody reads it
    if process.returncode:
        raise FetchError(f"dpkg-deb --fsys-tarfile {package.name}: exit code {process.returncode}")
    if nested is None:
        raise FetchError(f"{package.name} holds no {pattern}; correct the list")
    return nested


class NpmRegistry:
    """npm packages, from the registry npm is configured for."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache  # npm keeps a copy of all it fetches: of no use here, so in a folder that goes

    def fetch(self, package: Package, folder: Path) -> tuple[Path, str]:
        """Fetch a tarball; npm checks it against the registry's digest."""
        spec = f"{package.name}@{package.version}" if package.version else package.name
        options = ("--ignore-scripts", "--loglevel=error", "--fetch-retries=1", f"--cache={self._cache}")
        _run("npm", "pack", spec, *options, folder=folder)
        path = _only_file(folder)
        prefix = package.name.removeprefix("@").replace("/", "-") + "-"
        return path, path.name.removeprefix(prefix).removesuffix(".tgz")


def _run(*command: str, folder: Path) -> str:
    """What a command prints; FetchError with the errors it prints when it fails."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    if result.returncode == 0:
        return result.stdout
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("W:")]
    reason = " ".join(" ".join(lines[:4]).split())[:300] or f"exit code {result.returncode}"
    remedy = "; `sudo apt-get update` gets the lists that apt searches" if "Unable to locate" in reason else ""
    raise FetchError(f"{' '.join(command[:2])}: {reason}{remedy}")


def _only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def pip_settings() -> dict[str, str]:
    """`index` and `certificates` as pip is configured, by its files or the environment; empty where pip is not there."""
    result = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    pairs = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    settings = {}
    for ours, theirs in (("index", "index-url"), ("certificates", "cert")):
        for section in ("global", "download", ":env:"):  # the later wins
            if f"{section}.{theirs}" in pairs:
                settings[ours] = str(literal_eval(pairs[f"{section}.{theirs}"]))
    return settings


class PythonIndex:
    """Source distributions, from a package index (PEP 503).

    `pip download --no-binary :all:` would run each package's build to learn its metadata: minutes, and their code.
    """

    def __init__(self, index: str = "https://pypi.org/simple", certificates: str | None = None) -> None:
        parts = urlsplit(index)
        host = parts.netloc.rpartition("@")[2]
        self._index = parts._replace(netloc=host, path=parts.path.rstrip("/") + "/").geturl()
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        if parts.username:  # for this host only: files may lie on another
            user, password = unquote(parts.username), unquote(parts.password or "")
            passwords.add_password(None, f"{parts.scheme}://{host}", user, password, is_authenticated=True)
        context = ssl.create_default_context(cafile=certificates)
        handlers = (urllib.request.HTTPSHandler(context=context), urllib.request.HTTPBasicAuthHandler(passwords))
        self._opener = urllib.request.build_opener(*handlers)

    def fetch(self, package: Package, folder: Path) -> tuple[Path, str]:
        """Fetch a source distribution and check it against the index's digest."""
        page = f"{self._index}{canonicalize_name(package.name)}/"
        with self._open(page, accept="application/vnd.pypi.simple.v1+html, text/html;q=0.9") as response:
            links = _Links(response.url)
            links.feed(response.read().decode("utf-8"))
        version, address = _choose(package, links.found)
        address, fragment = urldefrag(address)
        path = folder / unquote(PurePosixPath(urlsplit(address).path).name)
        with self._open(address) as response, open(path, "wb") as file:
            shutil.copyfileobj(response, file)
            length = response.headers["Content-Length"]
        if length and path.stat().st_size != int(length):
            raise FetchError(f"{address}: broke off at {path.stat().st_size:,} of {int(length):,} bytes")
        if fragment.startswith("sha256=") and fragment != f"sha256={_sha256(path)}":
            raise FetchError(f"{address}: its sha256 is not the one that the index declares")
        return path, version

    def _open(self, address: str, accept: str = "*/*") -> Any:
        try:
            return self._opener.open(urllib.request.Request(address, headers={"Accept": accept}), timeout=_TIMEOUT_SECONDS)
        except OSError as error:
            raise FetchError(f"{address}: {error}") from error


class _Links(HTMLParser):
    """The links of an index page that are not withdrawn."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and values.get("href") and "data-yanked" not in values:
            self.found.append(urljoin(self._base, values["href"]))


def _choose(package: Package, links: Iterable[str]) -> tuple[str, str]:
    """(version, address) of the source distribution that is asked for, or the newest release's."""
    found = {}
    for link in links:
        try:
            version = parse_sdist_filename(unquote(PurePosixPath(urlsplit(link).path).name))[1]
        except (InvalidSdistFilename, InvalidVersion):  # a wheel, or a name from before there were rules
            continue
        if version == Version(package.version) if package.version else not version.is_prerelease:
            found[version] = link
    if not found:
        raise FetchError(f"the index has no source distribution of version {package.version or 'any'}")
    newest = max(found)
    return package.version or str(newest), found[newest]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _report(packages: list[Package], failures: dict[Package, str], cache: Path, minimum: int, seconds: float) -> None:
    """Say what is there and what failed; UserError where that is too little."""
    entries = read_manifest(cache)
    there = [package for package in packages if package not in failures]
    size = sum(entries[package.registry, package.name].bytes for package in there)
    asked, got = Counter(package.folder for package in packages), Counter(package.folder for package in there)
    parts = ", ".join(f"{folder} {got[folder]} of {asked[folder]}" for folder in asked)
    print(f"{len(there)} repositories ({parts}), {size / 1e6:.1f} MB, in {cache / 'archives'}; {seconds:.1f} s")
    for reason, names in _by_reason(failures).items():
        print(f"note: {', '.join(names)}: {reason}", file=sys.stderr)
    ordinary = sum(not package.large for package in there)
    if ordinary < minimum:
        raise UserError(f"{ordinary} repositories are there, {minimum} are wanted; see the notes above, then run the same command again")
    if asked["large"] and not got["large"]:
        raise UserError("none of the large packages are there; see the notes above, then run the same command again")


def _by_reason(failures: dict[Package, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for package, reason in failures.items():
        reasons.setdefault(reason, []).append(f"{package.registry}:{package.name}")
    return reasons


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
