"""The fetch script against real registries on this machine: a Debian repository, an npm registry and a package index."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.fetch_repositories import PACKAGES, Package, fetch, is_here, main, read_manifest, read_packages
from megatron_snow.common.errors import UserError

ROOT = Path(__file__).parents[2]
needs_apt = pytest.mark.skipif(not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="not a Debian")
needs_npm = pytest.mark.skipif(not shutil.which("npm"), reason="npm is not here")


class Registry(ThreadingHTTPServer):
    """Serves a folder, and remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.password: str | None = None
        self.cut = False  # break off in the middle of an archive
        self.stalled = threading.Event()  # set once an archive called slow-* is asked for; it never comes
        self.let_go = threading.Event()
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(SimpleHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name or self.path)
        if self.server.password and self.headers["Authorization"] != f"Basic {self.server.password}":
            self.send_error(401)
        elif name.startswith("slow-"):
            self.server.stalled.set()
            self.server.let_go.wait(20)
        elif self.server.cut and name.endswith(".tar.gz"):
            data = (self.server.folder / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    with Registry(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.let_go.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def index(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry as the package index that pip is configured for."""
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{registry.address}/simple")
    return registry


def archive(path: Path, text: str) -> Path:
    """A .tar.gz with one source file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("top/main.py")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return path


def publish(registry: Registry, name: str, *versions: str, withdrawn: str = "", digest: str = "") -> None:
    """Put source distributions and a wheel of each version into the package index."""
    links = []
    for version in versions:
        path = archive(registry.folder / "files" / f"{name}-{version}.tar.gz", f"version = '{version}'\n" * 999)
        declared = digest or hashlib.sha256(path.read_bytes()).hexdigest()
        yanked = ' data-yanked=""' if version == withdrawn else ""
        links.append(f'<a href="/files/{path.name}#sha256={declared}"{yanked}>{path.name}</a>')
        links.append(f'<a href="/files/{name}-{version}-py3-none-any.whl">wheel</a>')
    page = registry.folder / "simple" / name / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!DOCTYPE html><html><body>" + "\n".join(links))


def wanted(tmp_path: Path, text: str) -> list[str]:
    """Arguments that ask for a list of packages."""
    path = tmp_path / "packages.yaml"
    path.write_text(text)
    return ["--packages", str(path), "--cache", str(tmp_path / "cache")]


def archives(cache: Path) -> list[str]:
    return sorted(path.relative_to(cache / "archives").as_posix() for path in (cache / "archives").rglob("*") if path.is_file())


def test_the_list_asks_for_enough() -> None:
    packages, minimum = read_packages(PACKAGES)
    ordinary = [package for package in packages if not package.large]
    assert minimum == 60
    assert len({(package.registry, package.name) for package in packages}) == len(packages)
    assert len([package for package in ordinary if package.registry != "npm"]) >= minimum  # one tool may be missing
    assert len([package for package in ordinary if package.registry != "pypi"]) >= minimum
    assert Package("npm", "@capacitor/android", "8.5.2") in ordinary
    assert Package("debian", "openjdk-17-source", nested="src.zip", large=True) in packages


def test_newest_release_and_pinned_release(index: Registry, tmp_path: Path) -> None:
    publish(index, "newest", "1.9", "1.10", "1.11", "2.0rc1", withdrawn="1.11")
    publish(index, "pinned-one", "1.0", "2.0")
    assert main(wanted(tmp_path, "minimum: 2\npypi: [newest, Pinned_One==1.0]\n")) == 0
    cache = tmp_path / "cache"
    assert archives(cache) == ["pypi/newest-1.10.tar.gz", "pypi/pinned-one-1.0.tar.gz"]
    entry = read_manifest(cache)["pypi", "newest"]
    data = (cache / entry.file).read_bytes()
    assert (entry.version, entry.bytes, entry.sha256) == ("1.10", len(data), hashlib.sha256(data).hexdigest())
    assert data == (index.folder / "files" / "newest-1.10.tar.gz").read_bytes()


def test_what_is_there_is_not_fetched_again_what_is_damaged_is(index: Registry, tmp_path: Path) -> None:
    publish(index, "one", "1.0")
    publish(index, "two", "1.0", "2.0")
    arguments, cache = wanted(tmp_path, "minimum: 2\npypi: [one, two==1.0]\n"), tmp_path / "cache"
    assert main(arguments) == 0
    index.asked.clear()
    assert main(arguments) == 0
    assert index.asked == []

    path = cache / "archives" / "pypi" / "one-1.0.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main(arguments) == 0
    assert (path.read_bytes(), index.asked) == (whole, ["/simple/one/", "one-1.0.tar.gz"])

    assert main(wanted(tmp_path, "minimum: 2\npypi: [one, two==2.0]\n")) == 0
    assert archives(cache) == ["pypi/one-1.0.tar.gz", "pypi/two-2.0.tar.gz"]  # not two versions of one repository


def test_failures_are_told_and_count_only_below_the_minimum(index: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(index, "good", "1.0")
    publish(index, "forged", "1.0", digest="0" * 64)
    text = "pypi: [good, forged, absent, good-but-old==0.1]\n"
    publish(index, "good-but-old", "1.0")
    assert main(wanted(tmp_path, "minimum: 1\n" + text)) == 0
    notes = capsys.readouterr().err
    assert "pypi:forged" in notes
    assert "its sha256 is not the one that the index declares" in notes
    assert "404" in notes
    assert "no source distribution of version 0.1" in notes
    assert archives(tmp_path / "cache") == ["pypi/good-1.0.tar.gz"]
    with pytest.raises(UserError, match=r"1 repositories are there, 2 are wanted"):
        main(wanted(tmp_path, "minimum: 2\n" + text))


def test_a_download_that_breaks_off_leaves_nothing(index: Registry, tmp_path: Path) -> None:
    publish(index, "one", "1.0")
    index.cut = True
    failures = fetch([Package("pypi", "one")], tmp_path / "cache")
    assert "broke off" in failures[Package("pypi", "one")]
    assert list((tmp_path / "cache").rglob("*")) == []
    index.cut = False
    assert fetch([Package("pypi", "one")], tmp_path / "cache") == {}


def test_an_index_with_a_password(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, "one", "1.0")
    registry.password = base64.b64encode(b"me:p@ss").decode()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:p%40ss@{registry.address}/simple/")
    assert fetch([Package("pypi", "one")], tmp_path / "cache") == {}
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@{registry.address}/simple/")
    (failure,) = fetch([Package("pypi", "one")], tmp_path / "other").values()
    assert "401" in failure
    assert "secret" not in failure


def test_interrupted_it_keeps_what_was_finished(index: Registry, tmp_path: Path) -> None:
    publish(index, "one", "1.0")
    publish(index, "slow-one", "1.0")
    arguments, cache = wanted(tmp_path, "minimum: 1\npypi: [one, slow-one]\n"), tmp_path / "cache"
    script = ROOT / "benchmarks" / "fetch_repositories.py"
    with subprocess.Popen([sys.executable, str(script), *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert index.stalled.wait(20)
        deadline = time.monotonic() + 20
        while not (cache / "manifest.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)  # for the signal to arrive before the download ends
        index.let_go.set()
        errors = process.communicate()[1]
    assert (process.returncode, errors.splitlines()[-1].partition(":")[0]) == (130, "interrupted")
    assert archives(cache) == ["pypi/one-1.0.tar.gz"]
    assert is_here(Package("pypi", "one"), read_manifest(cache)["pypi", "one"], cache)
    assert sorted(path.name for path in cache.iterdir()) == [".fetch.lock", "archives", "manifest.json"]


def test_a_missing_tool_is_named_and_the_rest_goes_on(index: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(index, "one", "1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    failures = fetch([Package("npm", "x"), Package("debian", "y"), Package("pypi", "one")], tmp_path / "cache")
    assert failures[Package("npm", "x")].startswith("npm not found; ")
    assert failures[Package("debian", "y")].startswith("apt-get and dpkg-deb not found; ")
    assert Package("pypi", "one") not in failures


@pytest.mark.parametrize(
    ("text", "message"),
    [("minimum: 1\npip: [one]\n", "pip: no such key"), ("pypi: [one]\n", "minimum"), ("- one\n", "not a list of packages"), ("{", "flow")],
)
def test_a_list_that_is_none_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(wanted(tmp_path, text))
    assert str(tmp_path / "packages.yaml") in str(caught.value)


@needs_npm
def test_npm(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tarball = archive(registry.folder / "files" / "core-1.2.0.tgz", "x = 1\n")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    dist = {"tarball": f"http://{registry.address}/files/{tarball.name}", "integrity": integrity}
    release = {"name": "@scope/core", "version": "1.2.0", "dist": dist}
    document = {"name": "@scope/core", "dist-tags": {"latest": "1.2.0"}, "versions": {"1.2.0": release}}
    (registry.folder / "@scope").mkdir()
    (registry.folder / "@scope" / "core").write_text(json.dumps(document))
    monkeypatch.setenv("npm_config_registry", f"http://{registry.address}/")
    cache = tmp_path / "cache"
    failures = fetch([Package("npm", "@scope/core"), Package("npm", "@scope/core-of-nothing")], cache)
    assert list(failures) == [Package("npm", "@scope/core-of-nothing")]
    assert "404" in failures[Package("npm", "@scope/core-of-nothing")]
    assert archives(cache) == ["npm/scope-core-1.2.0.tgz"]
    assert read_manifest(cache)["npm", "@scope/core"].version == "1.2.0"
    assert (cache / "archives/npm/scope-core-1.2.0.tgz").read_bytes() == tarball.read_bytes()


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt with a repository of one package, which holds an archive, instead of this machine's."""
    repository, content, apt = tmp_path / "debian", tmp_path / "content", tmp_path / "apt"
    for folder in (repository, content / "DEBIAN", content / "usr" / "src", apt / "lists" / "partial", apt / "archives" / "partial"):
        folder.mkdir(parents=True)
    control = "Package: some-source\nVersion: 1:2.0-3\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: source\n"
    (content / "DEBIAN" / "control").write_text(control)
    archive(content / "usr" / "src" / "some-2.0.tar.gz", "x = 1\n")
    path = repository / "some-source_2.0-3_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", str(content), str(path)], check=True, capture_output=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (repository / "Packages").write_text(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n")
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [trusted=yes] copy:{repository} ./\n")
    settings = {
        "Dir::Etc::Parts": "/dev/null", "Dir::Etc::SourceParts": "/dev/null", "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::State::Lists": apt / "lists", "Dir::State::Status": apt / "status", "Dir::Cache": apt,
    }  # fmt: skip
    (apt / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(apt / "apt.conf"))
    subprocess.run(["apt-get", "update"], check=True, capture_output=True, env=dict(os.environ))


@needs_apt
@pytest.mark.usefixtures("debian")
def test_debian(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    assert main(wanted(tmp_path, "minimum: 1\ndebian: [some-source, other-source]\n")) == 0
    assert archives(cache) == ["debian/some-source_1%3a2.0-3_all.deb"]
    assert read_manifest(cache)["debian", "some-source"].version == "1:2.0-3"
    assert "sudo apt-get update" in capsys.readouterr().err
    subprocess.run(["dpkg-deb", "--info", str(cache / "archives" / archives(cache)[0])], check=True, capture_output=True)


@needs_apt
@pytest.mark.usefixtures("debian")
def test_large_packages_come_when_asked_for_and_without_their_wrapping(tmp_path: Path) -> None:
    cache, arguments = tmp_path / "cache", wanted(tmp_path, "minimum: 0\nlarge:\n  - some-source: some-*.tar.gz\n")
    assert main(arguments) == 0
    assert not (cache / "archives").exists()
    assert main([*arguments, "--large"]) == 0
    assert archives(cache) == ["large/some-source_1%3a2.0-3_all.tar.gz"]
    with tarfile.open(cache / "archives" / archives(cache)[0]) as tar:
        assert tar.getnames() == ["top/main.py"]
    with pytest.raises(UserError, match="none of the large packages"):
        main([*wanted(tmp_path, "minimum: 0\nlarge:\n  - some-source: other-*.tar.gz\n"), "--large"])
