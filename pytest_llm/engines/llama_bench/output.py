"""Answers of llama-bench: one line of JSON for each test (``-o jsonl``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llm.engines.llama_cpp_python.load_log import read_messages
from pytest_llm.errors import DataError
from pytest_llm.records.effective_options import normalize
from pytest_llm.system import strict_json
from pytest_llm.system.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.records import JSON

# Fields of an answer that hold the load option of the same name.
_SAME = (
    "n_batch",
    "n_ubatch",
    "n_threads",
    "split_mode",
    "main_gpu",
    "type_k",
    "type_v",
    "load_mode",
    "use_mmap",
    "use_direct_io",
)
_TURNED = {"no_kv_offload": "offload_kqv", "no_op_offload": "op_offload"}
_FLASH_ATTN = {-1: "auto", 0: "off", 1: "on"}
_ALL_LAYERS = 999
# The context is as long as one token: only what does not depend on its length is read from the log.
_LOGGED = ("flash_attn", "layers_offloaded", "load_mode", "use_mmap")
_WEIGHTS = " model"
_THREADS = "n_threads"
_MOST_BYTES = 2**20
_UNKNOWN = ("", "unknown")
# Values that are used, by their kinds; llama-bench writes some texts, switches and numbers either way.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_SAME, (int, str)),
    **dict.fromkeys(
        (*_TURNED, "repack", "n_gpu_layers", "flash_attn", "model_size", "model_n_params"), (int,)
    ),
    **dict.fromkeys(("model_type", "backends", "cpu_info", "gpu_info", "build_commit"), (str, int)),
}


class Request(NamedTuple):
    """What llama-bench is asked to time, ``repetitions`` times."""

    prompt: int
    generate: int
    depth: int
    repetitions: int


class WrongAnswerError(Exception):
    """An answer is not the one that was asked for; the message is the reason."""


def read_answer(output: str, request: Request) -> dict[str, Any]:
    """Return the one answer in what a program wrote.

    Raises:
        WrongAnswerError: There is none, or it is an answer to something else.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    if len(lines) != 1:
        raise WrongAnswerError(f"it wrote {len(lines)} lines instead of one")
    try:
        answer = strict_json.loads(lines[0], limit=_MOST_BYTES, what="it")
    except DataError as error:
        raise WrongAnswerError(str(error)) from None
    if not isinstance(answer, dict):
        raise WrongAnswerError("it is not an object of JSON")
    wrong = next((name for name, kinds in _KINDS.items() if not isinstance(answer.get(name, 0), kinds)), None)
    if wrong:
        raise WrongAnswerError(f"its {wrong} is {answer[wrong]!r:.80}")
    answer = visible(answer)
    did = (answer.get("n_prompt"), answer.get("n_gen"), answer.get("n_depth", 0))
    if did != request[:3]:
        raise WrongAnswerError(f"it is for n_prompt, n_gen, n_depth {did} instead of {request[:3]}")
    times = answer.get("samples_ns")
    if not isinstance(times, list) or not all(type(each) is int and each > 0 for each in times):
        raise WrongAnswerError(f"its samples_ns are not times: {times!r:.80}")
    if len(times) != request.repetitions:
        raise WrongAnswerError(f"it has {len(times)} samples_ns instead of {request.repetitions}")
    return dict(answer)


def timed(answer: Mapping[str, Any]) -> tuple[int, float]:
    """Return the tokens of all repetitions of an answer, and their seconds."""
    times = answer["samples_ns"]
    return len(times) * (answer["n_prompt"] + answer["n_gen"]), sum(times) / 1e9


def effective_options(answer: Mapping[str, Any], messages: Sequence[str]) -> dict[str, JSON]:
    """Return the load options that an answer holds, corrected by the log of the same process (-v), if any.

    Args:
        answer: The answer.
        messages: Lines of the log.
    """
    found: dict[str, JSON] = {name: answer[name] for name in _SAME if name in answer}
    found |= {option: not answer[name] for name, option in _TURNED.items() if name in answer}
    if "repack" in answer:
        found["use_extra_bufts"] = bool(answer["repack"])
    if "n_gpu_layers" in answer:
        layers = int(answer["n_gpu_layers"])
        found["n_gpu_layers"] = layers if 0 <= layers < _ALL_LAYERS else -1
    if "flash_attn" in answer:
        found["flash_attn"] = _FLASH_ATTN.get(int(answer["flash_attn"]), str(answer["flash_attn"]))
    return normalize({**found, **_logged(messages)})


def _logged(messages: Sequence[str]) -> dict[str, JSON]:
    written = read_messages(messages)
    found = {name: written[name] for name in _LOGGED if name in written}
    buffers = written.get("buffers_mib")
    if isinstance(buffers, dict):
        found["buffers_mib"] = {name: size for name, size in buffers.items() if name.endswith(_WEIGHTS)}
    return found


def invariants(answer: Mapping[str, Any], options: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what an answer tells that is the same on every machine: sizes of the model, and the options."""
    names = {"model_size": "weights_bytes", "model_n_params": "parameters", "model_type": "model_type"}
    same = {
        name: value
        for name, value in options.items()
        if name not in (_THREADS, "buffers_mib", "locked_bytes")
    }
    return {
        "effective_options": same,
        **{ours: answer[name] for name, ours in names.items() if name in answer},
    }


def version(answer: Mapping[str, Any], otherwise: str) -> str:
    """Return a build's number, "b6097", or ``otherwise`` if it was compiled outside a repository."""
    number = answer.get("build_number")
    return f"b{number}" if isinstance(number, int) and number > 0 else otherwise


def commit(answer: Mapping[str, Any]) -> str:
    """Return llama.cpp's commit, "" if the program does not know it."""
    known = str(answer.get("build_commit", ""))
    return "" if known in _UNKNOWN else known


def compiled_with(answer: Mapping[str, Any]) -> str:
    """Return backends and devices, in the form of ``llama_print_system_info``."""
    names = [each.strip() for each in str(answer.get("backends", "")).split(",") if each.strip()]
    devices = {"CPU": answer.get("cpu_info"), "GPU": answer.get("gpu_info")}
    parts = [f"{name} : {name} = 1" for name in names]
    parts += [f"{kind}_INFO = {' '.join(str(each).split())}" for kind, each in devices.items() if each]
    return " | ".join(parts)


def on_gpu(answer: Mapping[str, Any]) -> bool:
    """Return whether layers were put on a GPU: there is one, and layers were asked for."""
    return bool(answer.get("gpu_info")) and answer.get("n_gpu_layers") != 0
