"""The paper's finding rests on which files stand next to each other (2.1, Table 3): each grouping, seen in decoded training samples.

Megatron's GPTDataset shuffles the sequences of a dataset, all epochs together: files that are sequences of their own lose
their repository in silence. Here real code of several languages and repositories goes the whole way, collected, grouped,
tokenized and read, and what 1,000 samples hold is compared with what the grouping promises of these very documents.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.records import read_json
from megatron_snow.config import Blend, Corpus, Curve, Phase, Source, Workspace
from megatron_snow.corpus.stages import collect, group
from megatron_snow.datasets import Lineage, PhaseData, tokenize_shards
from megatron_snow.datasets.neighbours import count_neighbours
from megatron_snow.pipeline import read_documents, shards_in
from megatron_snow.tokenizers import load_tokenizer

SEQ, SAMPLES = 4096, 1000
GROUPINGS = ("file", "repo", "language-repo", "repo-language")
STDLIB = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "xml")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of the standard library (Python), and NumPy, PyArrow and CPython, in which C, C++, Cython and Python lie together."""
    root, include = tmp_path_factory.mktemp("checkouts"), Path(sysconfig.get_path("include"))
    stdlib = Path(sysconfig.get_path("stdlib"))
    parts: dict[str, list[tuple[Path, str]]] = {name: [(stdlib / name, "**/*.py")] for name in STDLIB}
    packages = Path(np.__file__).parent, Path(pyarrow.__file__).parent
    parts["numpy"] = [(packages[0] / "lib", "*.py"), (Path(np.get_include()), "**/*.h"), (packages[0], "**/*.pxd")]
    parts["pyarrow"] = [(packages[1], "*.py"), (packages[1], "*.px[id]"), (packages[1] / "include" / "arrow" / "compute", "*.h")]
    parts["cpython"] = [(stdlib, "[a-d]*.py"), (include, "*.h")]
    for repository, folders in parts.items():
        for number, (folder, pattern) in enumerate(folders):
            for path in sorted(folder.glob(pattern)):
                target = root / repository / str(number) / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    output = tmp_path_factory.mktemp("corpus") / "collected"
    collect(Corpus(sources=(Source("folder", str(root)),)), 1, output)
    return output


class Grouped(NamedTuple):
    grouping: str
    workspace: Workspace
    documents: list[dict[str, Any]]

    def data(self, samples: int = SAMPLES, repeat: Any = "epochs") -> PhaseData:
        phase = Phase("general", (Blend("general"),), tokens=samples * SEQ, lr=Curve("constant", 1.0), repeat=repeat)
        return PhaseData(phase, workspace=self.workspace, seq_length=SEQ, samples=samples, seed=3)

    def samples_of_passes(self, passes: int) -> int:
        return passes * sum(source.samples_per_epoch for source in self.data().sources)


@pytest.fixture(scope="module", params=GROUPINGS)
def grouped(request: pytest.FixtureRequest, collected: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Grouped:
    workspace = Workspace(tmp_path_factory.mktemp(request.param))
    corpus = Corpus(grouping=request.param, held_out_share=0.0)
    group(corpus, 1, shards_in(collected), workspace.corpus("grouped"), workspace.corpus("held_out"))
    shards = shards_in(workspace.corpus("grouped"))
    tokenize_shards(shards, code_tokenizer, workspace.tokens("general"))
    return Grouped(request.param, workspace, [{**row, "dataset": shard.stem[:-6]} for shard in shards for row in read_documents(shard)])


def promised(grouped: Grouped) -> tuple[float, float]:
    """(same language, same repository) of the pairs of files that follow each other in a pass, from the documents alone."""
    by_group: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for document in grouped.documents:
        by_group[document["dataset"], document["group"]].append(document)
    pairs = len(grouped.documents) - len({dataset for dataset, _ in by_group})
    inside = len(grouped.documents) - len(by_group)  # pairs of one group
    if grouped.grouping == "file":  # any two files of a language, by chance
        return 1.0, sum(chance(Counter(repositories).values()) for repositories in by("dataset", "repository", grouped.documents)) / pairs
    if grouped.grouping == "language-repo":
        return 1.0, inside / pairs
    if grouped.grouping == "repo-language":  # each language of a group once: as many borders as languages, less one
        return sum(len(files) - len({file["language"] for file in files}) for files in by_group.values()) / pairs, inside / pairs
    return sum(chance(Counter(languages).values()) for languages in by("group", "language", grouped.documents)) / pairs, inside / pairs


def by(key: str, value: str, documents: Iterable[dict[str, Any]]) -> list[list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        found[document[key]].append(document[value])
    return list(found.values())


def chance(kinds: Iterable[int]) -> float:
    """Expected pairs of one kind in a row of so many things of each kind in random order."""
    counts = list(kinds)
    return sum(count * (count - 1) for count in counts) / sum(counts)


@pytest.mark.parametrize("repeat", ["epochs", "joint"])
def test_neighbours_are_what_the_grouping_promises(grouped: Grouped, repeat: str) -> None:
    """In 1,000 samples of four passes; both ways to repeat keep groups whole."""
    data = grouped.data(grouped.samples_of_passes(4), repeat)
    found = count_neighbours(data, np.random.default_rng(1).choice(len(data), SAMPLES, replace=False).tolist())
    language, repository = promised(grouped)
    assert found.pairs > 200
    error = 3 * 0.5 / found.pairs**0.5  # three standard errors of a share
    borders = 0.0 if grouped.grouping == "file" else 1 - repository  # between groups, where neighbours may be of one language by chance
    assert language - error < found.language < language + borders + error
    assert found.repository == pytest.approx(repository, abs=error)
    if grouped.grouping != "file":
        assert found.repository > 0.9
    if grouped.grouping in ("file", "language-repo"):
        assert found.language == 1.0


def test_decoded_samples_hold_what_the_lineage_says(grouped: Grouped, code_tokenizer: Path) -> None:
    """1,000 samples as text: every part of a file stands in that file, so the shares above are of what a model reads."""
    tokenizer, data = load_tokenizer(code_tokenizer), grouped.data()
    contents = {(document["repository"], document["path"]): document["content"].encode() for document in grouped.documents}
    ends = {tokenizer.eod, tokenizer.file_separator}
    lineages = {source.path: Lineage(source.path) for source in data.sources}
    batch = data.read(range(SAMPLES))
    parts = whole = 0
    for i in range(SAMPLES):
        origins = [origin for span in data.spans(i) for origin in lineages[data.locate(i)[0].path].between(span.first_token, span.count)]
        assert batch.segments[i].max() + 1 == len(origins)
        for number, origin in enumerate(origins):
            tokens = [token for token in batch.tokens[i][batch.segments[i] == number].tolist() if token not in ends]
            text = tokenizer.decode_bytes(tokens)
            assert text in contents[origin.repository, origin.path]
            parts += 1
            whole += text == contents[origin.repository, origin.path]
    assert parts > SAMPLES
    assert whole > 5


def test_epochs_do_not_mix_passes_and_joint_does(grouped: Grouped) -> None:
    """The first quarter of four passes: a token at most twice with `epochs` (samples share one), some thrice or more with `joint`."""
    samples = grouped.samples_of_passes(4)
    most = {}
    for repeat in ("epochs", "joint"):
        data = grouped.data(samples, repeat)
        seen = {source.path: np.zeros(source.tokens, np.int64) for source in data.sources}
        for i in range(samples // 4 - len(data.sources)):
            source, _, _ = data.locate(i)
            for span in data.spans(i):
                seen[source.path][span.first_token + 1 : span.first_token + span.count] += 1
        most[repeat] = max(int(counts.max()) for counts in seen.values())
    assert most["epochs"] == 1
    assert most["joint"] >= 3


def test_compare_groupings_prints_what_training_reads(
    collected: Path, code_tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--input", str(collected), "--tokenizer", str(code_tokenizer), "--seq-length", str(SEQ), "--samples", "300"]
    assert run_verb("compare_groupings", [*options, "--output", str(tmp_path / "report.json")]) == 0
    report = {name: entry["neighbours"] for name, entry in read_json(tmp_path / "report.json")["groupings"].items()}
    assert set(report) == set(GROUPINGS)
    assert report["language-repo"]["language"] == report["file"]["language"] == 1.0
    assert report["file"]["repository"] < 0.5 < 0.9 < report["language-repo"]["both"]
    assert report["repo"]["language"] < report["repo-language"]["language"] < 1.0
    assert "files side by side in training samples" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "message"), [(["--samples", "-1"], "--samples -1"), (["--samples", "5"], "takes --tokenizer")])
def test_bad_options(tmp_path: Path, collected: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert run_verb("compare_groupings", ["--input", str(collected), "--output", str(tmp_path / "r.json"), *options]) == 2
    assert message in capsys.readouterr().err
