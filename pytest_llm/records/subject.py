"""Subjects and workloads: models, builds, load options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Union

from pytest_llm.records.build_reference import BuildReference
from pytest_llm.records.schema import DERIVED, Count, NonEmpty, Positive, Sha256

if TYPE_CHECKING:
    JSON = Union[None, bool, int, float, str, "list[JSON]", "dict[str, JSON]"]  # noqa: UP007
else:
    JSON = Any  # codecs read annotations and cannot follow a type into itself

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
FlashAttention = Literal["auto", "on", "off"]
LoadMode = Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "direct_io"]
SplitMode = Literal["none", "layer", "row"]
RopeScaling = Literal["unspecified", "none", "linear", "yarn", "longrope"]
Numa = Literal["disabled", "distribute", "isolate", "numactl"]


@dataclass(frozen=True)
class OpenedFile:
    """A file that stays open from its hash on.

    Attributes:
        path: The file.
        descriptor: Open for reading.
        identity: Device, inode, size, and times of the last change of content and of status in ns.
        sha256: Of the content, in hex.
    """

    path: str
    descriptor: int
    identity: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter that is applied to a model.

    Attributes:
        name: The path, as the user wrote it.
        path: The file.
        sha256: Of the file, in hex.
        scale: By which it is multiplied.
        opened: The file, while this process has it open.
    """

    name: NonEmpty
    path: NonEmpty
    sha256: Sha256
    scale: float
    opened: tuple[OpenedFile, ...] = field(default=(), compare=False, repr=False, metadata=DERIVED)


@dataclass(frozen=True)
class DraftModel:
    """A model that drafts tokens for another one, which accepts or rejects them.

    Attributes:
        name: What the user called it: a catalogue name or a path.
        path: The file; the first one of a split model.
        sha256: Of the file, in hex.
        opened: The file, while this process has it open.
    """

    name: NonEmpty
    path: NonEmpty
    sha256: Sha256
    opened: tuple[OpenedFile, ...] = field(default=(), compare=False, repr=False, metadata=DERIVED)


@dataclass(frozen=True)
class Model:
    """A GGUF model, identified by its SHA-256; its facts come from the header alone.

    Attributes:
        name: What the user called it: a catalogue name or a path.
        path: The file; the first one of a split model.
        sha256: Of the file, in hex; of a split model, of the list of its parts' (``models/checksums.py``).
        file_bytes: The length of all files.
        architecture: ``general.architecture``: "llama".
        quantization: ``general.file_type`` in words: "Q4_1".
        parameters: Elements of all tensors.
        layers: ``block_count``.
        heads: ``attention.head_count`` (the largest, where layers differ).
        kv_heads: ``attention.head_count_kv`` (the largest, where layers differ).
        embedding_length: Width of the hidden state.
        context_length: Tokens that the model was trained for.
        vocabulary_size: Tokens in the vocabulary.
        parts: How many files the model is split into.
        unknown_types: Types of tensors whose size only the build knows: "type 137".
        adapters: LoRA adapters that the load option ``lora`` asks for.
        draft: The model that the load option ``draft_model`` asks for; None if none.
        opened: The model's files, while this process has them open.
    """

    name: NonEmpty
    path: NonEmpty
    sha256: Sha256
    file_bytes: Count
    architecture: NonEmpty
    quantization: str
    parameters: Count
    layers: Count
    heads: Count
    kv_heads: Count
    embedding_length: Count
    context_length: Count
    vocabulary_size: Count
    parts: Positive = 1
    unknown_types: tuple[NonEmpty, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    draft: DraftModel | None = None
    opened: tuple[OpenedFile, ...] = field(default=(), compare=False, repr=False, metadata=DERIVED)

    @property
    def all_opened(self) -> tuple[OpenedFile, ...]:
        """The files of the model, of its adapters and of its draft model that this process has open."""
        others = (*self.adapters, *((self.draft,) if self.draft else ()))
        return (*self.opened, *(file for each in others for file in each.opened))

    @property
    def lora(self) -> str:
        """The adapters by what they hold, wherever they lie: "0123456789ab:0.5"; "" without any."""
        return ",".join(f"{each.sha256[:12]}:{each.scale:g}" for each in self.adapters)


@dataclass(frozen=True)
class Capability:
    """Why a model cannot be asked for something; "" if it can.

    Attributes:
        generation: For next tokens.
        embedding: For the embedding of a text.
        text: For the token ids of a text, or the text of token ids.
    """

    generation: str = ""
    embedding: str = ""
    text: str = ""


@dataclass(frozen=True)
class Build:
    """A build of an engine, as it describes itself once it runs.

    Attributes:
        engine: "llama-cpp-python".
        version: The engine's own version.
        llama_cpp_commit: What ``ggml_commit()`` answers, or "" where it cannot be asked.
        where: The interpreter or program that ran.
        library: The ``libllama`` that it loaded; "" if it is unknown, or part of the program.
        compiled_with: CPU features and backends, from ``llama_print_system_info``, and the compiler's name.
        environment: The variables that change speed, as the worker saw them.
    """

    engine: NonEmpty
    version: str
    llama_cpp_commit: str
    where: str
    compiled_with: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    library: str = ""

    @property
    def release(self) -> str:
        """The engine and its version: "llama-cpp-python 0.3.36"."""
        return f"{self.engine} {self.version}"

    def __str__(self) -> str:
        commit = f" (llama.cpp {self.llama_cpp_commit})" if self.llama_cpp_commit else ""
        return f"{self.release}{commit}"


@dataclass(frozen=True)
class LoadOptions:
    """Load options with llama.cpp's names; every option has an explicit value.

    The defaults are llama.cpp's (``llama_model_default_params``, ``llama_context_default_params`` and
    ``common_params`` at 0c1e57098), except ``n_ctx``: there it means "whatever the model was trained for",
    which would make memory a property of the file, and the threads, which the plan sets to the physical
    cores that it may use wherever nothing else was asked for.

    Some are written as on llama.cpp's command line: ``tensor_buft_overrides`` as ``-ot``
    ("PATTERN=BUFFER,…"), ``tensor_split`` as ``-ts`` ("3,1"), ``lora`` as ``--lora-scaled``
    ("FILE:SCALE,…"). ``draft_model`` is a model, as ``-md``, with which servers decode speculatively. A YaRN
    option of -1, or an ``yarn_orig_ctx`` of 0, is the model's own.
    """

    n_ctx: int = 4096
    n_batch: int = 2048
    n_ubatch: int = 512
    n_seq_max: int = 1
    n_threads: int = 1
    n_threads_batch: int = 1
    n_gpu_layers: int = -1
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    load_mode: LoadMode = "mmap"
    check_tensors: bool = False
    use_extra_bufts: bool = True
    flash_attn: FlashAttention = "auto"
    offload_kqv: bool = True
    op_offload: bool = True
    type_k: CacheType = "f16"
    type_v: CacheType = "f16"
    swa_full: bool = True
    kv_unified: bool = False
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    rope_scaling: RopeScaling = "unspecified"
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_fast: float = -1.0
    yarn_beta_slow: float = -1.0
    yarn_orig_ctx: int = 0
    n_cpu_moe: int = 0
    tensor_buft_overrides: str = ""
    tensor_split: str = ""
    numa: Numa = "disabled"
    lora: str = ""
    draft_model: str = ""

    def apart(self, other: LoadOptions) -> str:
        """Return these options where the other ones have other values: "flash_attn=off, n_ctx=512"."""
        theirs = vars(other)
        return ", ".join(f"{name}={value}" for name, value in vars(self).items() if value != theirs[name])


@dataclass(frozen=True)
class Subject:
    """A model (by name or path), a build, and load options."""

    model: NonEmpty
    build: BuildReference
    load_options: LoadOptions


@dataclass(frozen=True)
class Workload:
    """The work of one request.

    Attributes:
        prompt_tokens: Fresh tokens of one request, for each sequence.
        generate_tokens: Tokens generated after them, for each sequence.
        depth: Tokens that are in the context before the prompt, for each sequence.
        parallel: Sequences decoded together.
        embed: The work is the embedding of ``parallel`` texts of ``prompt_tokens``; nothing is generated.
    """

    prompt_tokens: Positive = 128
    generate_tokens: Count = 64
    depth: Count = 0
    parallel: Positive = 1
    embed: bool = False

    def tokens_per_sequence(self) -> int:
        """Return how many tokens of context one sequence needs."""
        return self.depth + self.prompt_tokens + self.generate_tokens

    def __str__(self) -> str:
        parallel = f", {self.parallel} in parallel" if self.parallel > 1 else ""
        if self.embed:
            return f"texts of {self.prompt_tokens} tokens embedded{parallel}"
        work = f"{self.prompt_tokens} prompt tokens, {self.generate_tokens} generated"
        return f"{work}, depth {self.depth}{parallel}"
