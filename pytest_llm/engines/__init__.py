"""Systems that run models: one folder for each, and one line in ``ENGINES``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llm.errors import EngineMissingError
from pytest_llm.system.registry import Registry, load_code

if TYPE_CHECKING:
    from pytest_llm.records import Build, BuildReference
    from pytest_llm.records.protocols import Engine
    from pytest_llm.system.sandbox import Policy

DEFAULT = "llama-cpp-python"
LLAMA_BENCH = "llama-bench"
LLAMA_SERVER = "llama-server"
OPENAI = "openai"
OLLAMA = "ollama"
LM_STUDIO = "lmstudio"
TEXTGEN = "textgen"
_REQUESTS = (
    "whole requests at depth 0, for first-token and inter-token latency and total speed; embeddings, images "
    "and reranking are not covered"
)
_NO_LOGITS = "shows no logits of what is timed, so NaN and infinity go unnoticed"
# The variable with the key of a server by URL.
API_KEY = "PYTEST_LLM_API_KEY"


@dataclass(frozen=True)
class EngineEntry:
    """Properties of an engine that are known before it is imported.

    Attributes:
        code: "module:Class". The class takes the build reference, the seconds to wait for each answer, and
            the interpreter or program of a build that had to be made.
        places: The kinds of WHERE that ``ENGINE@WHERE`` takes: see :mod:`pytest_llm.builds.reference`.
        bare: Which build the engine's name alone means; "" if none.
        covers: What the engine measures, as a sentence, if that is not everything.
        unchecked: What of its output cannot be checked, as a sentence; "" if all can.
        one_position: It shows the logits of one position a request, so that outputs are compared at fewer.
        locks: The class takes, as fourth argument, how its processes are locked in.
        control: "module:function" that measures the speed of the machine that the engine runs on: it takes a
            number of threads and returns a :class:`~pytest_llm.records.Control`, or None; "" if nothing does.
        port: Where its server listens unless it is told otherwise; 0 if nowhere.
        wraps: The engine that it starts inside, with flags of its own; "" if none.
        as_caller: Whole requests are timed as a caller gets them, as by every other engine of this kind.
    """

    code: str
    places: tuple[str, ...] = ()
    bare: str = "the only one"
    covers: str = ""
    unchecked: str = ""
    one_position: bool = False
    locks: bool = False
    control: str = "pytest_llm.machine.control:measure_control"
    port: int = 0
    wraps: str = ""
    as_caller: bool = False


ENGINES: Registry[EngineEntry] = Registry(
    "engine",
    {
        DEFAULT: EngineEntry(
            "pytest_llm.engines.llama_cpp_python.engine:LlamaCppPython",
            places=("release", "venv", "lib", "git"),
            bare="the one of this environment",
            locks=True,
        ),
        LLAMA_BENCH: EngineEntry(
            "pytest_llm.engines.llama_bench.engine:LlamaBench",
            places=("bin",),
            bare="the one on PATH",
            locks=True,
            covers="llama-bench measures prompt and generation speed only, of one sequence",
            unchecked="llama-bench shows no logits, so NaN and infinity go unnoticed",
        ),
        LLAMA_SERVER: EngineEntry(
            "pytest_llm.engines.llama_server.engine:LlamaServer",
            places=("release", "archive", "git", "bin", "cmd"),
            bare="the one on PATH",
            locks=True,
            covers="llama-server is not asked for embeddings, and under parallel requests only for their "
            "latencies and total speed",
            unchecked="llama-server shows no logits of what is timed, so NaN and infinity go unnoticed there",
            one_position=True,
            as_caller=True,
        ),
        OPENAI: EngineEntry(
            "pytest_llm.engines.openai.engine:OpenAIServer",
            places=("url",),
            bare="",
            covers="servers by URL are asked for whole requests at depth 0, for first-token and inter-token "
            "latency and total speed; images and reranking are not covered",
            unchecked="a server by URL shows no logits, so NaN and infinity go unnoticed",
            as_caller=True,
        ),
        OLLAMA: EngineEntry(
            "pytest_llm.engines.ollama.engine:Ollama",
            places=("url", "bin"),
            bare="the one that OLLAMA_HOST names, or at port 11434",
            port=11434,
            wraps=LLAMA_SERVER,
            covers=f"Ollama is asked for {_REQUESTS}",
            unchecked=f"Ollama {_NO_LOGITS}",
            as_caller=True,
        ),
        LM_STUDIO: EngineEntry(
            "pytest_llm.engines.lmstudio.engine:LMStudio",
            places=("url", "bin"),
            bare="the one at port 1234",
            port=1234,
            covers=f"LM Studio is asked for {_REQUESTS}",
            unchecked=f"LM Studio {_NO_LOGITS}",
            as_caller=True,
        ),
        TEXTGEN: EngineEntry(
            "pytest_llm.engines.textgen.engine:Textgen",
            places=("url", "cmd"),
            bare="the one at port 5000",
            port=5000,
            wraps=LLAMA_SERVER,
            covers=f"text-generation-webui is asked for {_REQUESTS}",
            unchecked=f"text-generation-webui {_NO_LOGITS}",
            as_caller=True,
        ),
    },
)


def engine_for(build: BuildReference, timeout: float, made: str = "", policy: Policy | None = None) -> Engine:
    """Return the engine of a build.

    Args:
        build: Which one.
        timeout: The seconds that it waits for each answer.
        made: The interpreter of a release or the folder of a commit's library, which are made before.
        policy: How its processes are locked in; None is as far as the kernel can.
    """
    engine: Engine = _new(build.engine, build, timeout, made, policy)
    return engine


def describe(build: BuildReference, timeout: float, made: str = "") -> Build:
    """Return how a build describes itself, in a process of its own.

    Args:
        build: Which one.
        timeout: The seconds to wait for the answer.
        made: See :func:`engine_for`.

    Raises:
        EngineError: It does not start.
    """
    described: Build = _new(build.engine, build, timeout, made).describe()
    return described


def abi_mismatch(build: BuildReference, timeout: float, folder: str, policy: Policy | None = None) -> str:
    """Return why the installed binding cannot take its library from a folder, "" if it can.

    Args:
        build: Whose library it is.
        timeout: The seconds to wait for each answer.
        folder: Where the library is.
        policy: See :func:`engine_for`.

    Raises:
        EngineError: The binding is there and does not start with its own library.
    """
    try:
        reason: str = _new(build.engine, build, timeout, folder, policy).abi_mismatch()
    except EngineMissingError as error:
        return str(error)
    return reason


def llama_bench_for(
    build: BuildReference, timeout: float, program: str, policy: Policy | None = None
) -> Engine:
    """Return the engine that measures a commit by its own llama-bench, where no installed binding fits it."""
    engine: Engine = _new(LLAMA_BENCH, build, timeout, program, policy)
    return engine


def _new(engine: str, build: BuildReference, timeout: float, made: str, policy: Policy | None = None) -> Any:
    entry = ENGINES[engine]
    policies = (policy,) if entry.locks else ()
    return load_code(entry.code)(build, timeout, made, *policies)
