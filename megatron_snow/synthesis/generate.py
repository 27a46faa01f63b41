"""Generating the synthetic corpus: seeds to requests, responses, checked documents.

Two steps with different promises. Asking is not repeatable (a model server is not), so each response
is kept under its key and never asked for again. Making documents out of kept responses is a stage
like any other: the same responses give the same shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from megatron_snow.common.checksums import file_digest, text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest
from megatron_snow.config import Recipe, Synthesis, Workspace, file_name_of
from megatron_snow.corpus.decontamination import index_of
from megatron_snow.llm import LOCAL_MODEL, ChatClient, ChatRequest, local_server
from megatron_snow.llm.responses import ResponseFolder, read_response
from megatron_snow.pipeline import DOCUMENT, ShardWriter, Stage, Task, run_stage, shards_in
from megatron_snow.synthesis.checks import extract_code, refuse
from megatron_snow.synthesis.prompts import PROMPT, SYSTEM, user_prompt
from megatron_snow.synthesis.seeds import Seed, choose_seeds
from megatron_snow.tasks import benchmark_path

LOCAL = "local"
SYNTHETIC = DOCUMENT.append(pa.field("group", pa.string()))

_LOCAL_TOKENS_PER_SECOND = 80  # SmolLM2-135M, one idle core, four requests in a batch


@dataclass(frozen=True)
class Plan:
    """What a run will ask: a request for each seed."""

    seeds: list[Seed]
    requests: list[ChatRequest]
    missing: list[ChatRequest]  # not yet answered

    def describe(self, synthesis: Synthesis) -> str:
        """One line of cost, for before the start."""
        completion = sum(request.max_tokens for request in self.missing)
        prompt = sum(len(request.system) + len(request.user) for request in self.missing) // 3  # characters of code a token
        line = (
            f"{len(self.requests)} requests to {synthesis.model} at {synthesis.endpoint}, {len(self.requests) - len(self.missing)} already "
            f"answered; the others take about {prompt:,} prompt tokens and at most {completion:,} completion tokens"
        )
        return line + (f", at most {completion / _LOCAL_TOKENS_PER_SECOND / 60:.1f} minutes here" if synthesis.endpoint == LOCAL else "")


def plan_requests(recipe: Recipe, workspace: Workspace) -> Plan:
    """The requests of a recipe: seeded seeds out of annotator/selected, one request each."""
    synthesis = recipe.synthesis
    if synthesis.requests < 0 or synthesis.seed_bytes < 1 or synthesis.max_tokens < 1:
        raise UserError("synthesis: requests must be at least 0, seed_bytes and max_tokens at least 1")
    if not synthesis.requests:
        return Plan([], [], [])
    shards = shards_in(workspace.annotator("selected"))
    seeds = choose_seeds(shards, synthesis.languages, synthesis.requests, synthesis.seed_bytes, recipe.seed)
    requests = [_request(seed, synthesis, recipe.seed) for seed in seeds]
    return Plan(seeds, requests, ResponseFolder(workspace.synthesis("responses"), synthesis.model).missing(requests))


def _request(seed: Seed, synthesis: Synthesis, run_seed: int) -> ChatRequest:
    """The request of one seed. Its sampling seed has 28 bits of its own: two files may begin with the same lines."""
    sampling_seed = int(text_digest(f"{run_seed}:sample:{seed.id}:{seed.number}")[:7], 16)
    return ChatRequest(SYSTEM, user_prompt(seed.text, seed.language), synthesis.max_tokens, synthesis.temperature, sampling_seed)


def synthesize_documents(recipe: Recipe, workspace: Workspace) -> Manifest:
    """Ask what is not yet answered, then write what is accepted to synthesis/documents (a shard a language).

    Documents have repository "synthetic:MODEL", the licence of their seed, and provenance "prompt:NAME request:KEY seed:ID".
    With nothing accepted the shards are empty and the counts say so. The local server is started only when something is missing.
    """
    plan = plan_requests(recipe, workspace)
    if plan.missing:
        before_running("synthesis", workspace.synthesis("responses"), f"{len(plan.missing):,} of {len(plan.requests):,} requests are open")
        with _endpoint(recipe.synthesis) as url:
            client = ChatClient(url, recipe.synthesis.model, workspace.synthesis("responses"), recipe.synthesis.concurrency)
            for _ in client.complete_all(plan.missing):
                pass
    decontamination = recipe.corpus.decontamination
    parameters = {
        "model": recipe.synthesis.model,
        "prompt": PROMPT,
        "benchmarks": list(decontamination.benchmarks),
        "benchmark_digests": [file_digest(benchmark_path(name)) for name in decontamination.benchmarks],
        "ngram": decontamination.ngram,
    }
    stage = Stage("synthesize_documents", 1, _make_documents, parameters)
    return run_stage(stage, _tasks(recipe, workspace, plan), workspace.synthesis("documents"))


def _tasks(recipe: Recipe, workspace: Workspace, plan: Plan) -> list[Task]:
    """One task a language: its response files and their seeds, in one order."""
    responses = ResponseFolder(workspace.synthesis("responses"), recipe.synthesis.model)
    by_language: dict[str, dict[Path, Seed]] = {}
    for seed, request in zip(plan.seeds, plan.requests):
        by_language.setdefault(seed.language, {})[responses.path(request)] = seed
    return [
        Task(f"{file_name_of(language)}-00000", tuple(seeds), {"seeds": [vars(seed) for seed in seeds.values()]})
        for language, seeds in by_language.items()
    ]


@contextmanager
def _endpoint(synthesis: Synthesis) -> Iterator[str]:
    """The base URL to ask: the recipe's, or a local server's for as long as it is needed."""
    if synthesis.endpoint != LOCAL:
        yield synthesis.endpoint
        return
    if synthesis.model != LOCAL_MODEL:
        raise UserError(
            f"synthesis.model: {synthesis.model!r} is not what the local server has ({LOCAL_MODEL}); "
            "set synthesis.endpoint to the URL of a server that has it"
        )
    context = synthesis.max_tokens + synthesis.seed_bytes + 512  # a token has at least a byte; 512 for the prompt around the seed
    with local_server(parallel=synthesis.concurrency, context_tokens=context) as url:
        yield url


def _make_documents(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Responses of one language to documents."""
    index = index_of(parameters["benchmarks"], parameters["ngram"])
    counts = Counter({"requested": len(inputs), "accepted": 0})
    seen: set[str] = set()
    with ShardWriter(beside(prefix, ".parquet"), SYNTHETIC) as writer:
        for path, seed in zip(inputs, (Seed(**fields) for fields in parameters["seeds"])):
            response = read_response(path)
            counts.update(answered=1, prompt_tokens=response.prompt_tokens, completion_tokens=response.completion_tokens)
            code, reason = extract_code(response.text)
            reason = reason or refuse(code, seed.language, seed.text)
            if not reason and text_digest(code) in seen:
                reason = "duplicate"
            if not reason and index.leaks(code):
                reason = "benchmark"
            if reason:
                counts[f"dropped:{reason}"] += 1
                continue
            seen.add(text_digest(code))
            counts["accepted"] += 1
            counts["accepted_unparsed"] += seed.language != "Python"
            writer.write(_document(code, seed, path.stem, parameters))
    return counts


def _document(code: str, seed: Seed, key: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    repository = f"synthetic:{parameters['model']}"
    return {
        "id": text_digest(code),
        "repository": repository,
        "path": key + PurePosixPath(seed.path).suffix,
        "language": seed.language,
        "licence": seed.licence,  # what is derived from a file stays under its licence
        "size": len(code.encode()),
        "provenance": f"prompt:{parameters['prompt']} request:{key} seed:{seed.id}",
        "content": code,
        "group": f"{seed.language}/{repository}",
    }
