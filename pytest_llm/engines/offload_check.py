"""Offload check: llama.cpp silently leaves layers on the CPU that were to go to a device."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.engines.llama_cpp_python.load_log import matches, message_pattern, read_buffers
from pytest_llm.errors import (
    CPUFallbackError,
    LoadRefusedError,
    ModelError,
    NotCoveredError,
    RequestFailedError,
)
from pytest_llm.models import part_paths
from pytest_llm.models.capability import capability, not_a_model
from pytest_llm.models.footprint import (
    compare_with_log,
    header_of,
    predict_file,
    requested_layers,
    shortfall,
)
from pytest_llm.models.gguf.header import header_bytes
from pytest_llm.system.text import clean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_llm.models.footprint import Predicted
    from pytest_llm.records import JSON, LoadOptions, Workload
    from pytest_llm.records.subject import OpenedFile

# llama_model_load_from_file_impl, once for each device: "using device CUDA0 (NVIDIA H100) - 80000 MiB free".
_USING = message_pattern(r"using device (\S+) \(.*")
# llama_model_loader::create_tensor: layers that predict further tokens, say. The name is the model's text.
_UNUSED = re.compile(r"model has unused tensor .* \(size = (\d{1,18}) bytes\) -- ignoring")
# Parts of messages that are read, as a token or a name could hold them.
_MESSAGE = re.compile(
    rb" buffer size = |using device \S{1,99} \(|offloaded \d+/\d+ layers|has unused tensor "
    rb"|\((?:mmap|load_mode) = |flash_attn +=|Flash Attention (?:was auto|enabled|disabled)"
)
_EXPERTS = r"ffn_(up|down|gate|gate_up)_(ch|)exps"
_POSITIONS = "position_embd.weight"
_PLACEMENT = re.compile(r"using device|offload|(?:model|KV) buffer size")
_LAST_LINES = 12


def devices_used(messages: Iterable[str]) -> list[str]:
    """Return the devices that llama.cpp tells it uses, "CUDA0"."""
    return [each[1] for each in matches(_USING, messages)]


class OffloadCheck:
    """The predicted memory of one file under load options, compared with what llama.cpp logs."""

    def __init__(self, path: str, options: LoadOptions) -> None:
        self._path = path
        self._options = options

    def check_model(self, build: str) -> None:
        """Raise if the file is no model that could be loaded.

        Raises:
            NotCoveredError: It is an adapter or a projector, say.
        """
        with suppress(ModelError):  # llama.cpp says what is wrong with it
            if reason := not_a_model(header_of(self._path)):
                raise NotCoveredError(f"{build}: {self._path}: {reason}")

    def check_drafts(self, build: str) -> None:
        """Raise if a draft model is asked for, where nothing drafts.

        Raises:
            NotCoveredError: It is.
        """
        if self._options.draft_model:
            raise NotCoveredError(
                f"{build}: it drafts no tokens, so draft_model={self._options.draft_model} has no effect: "
                "measure a llama-server, --llm-candidate llama-server@…"
            )

    def check_places(self, build: str) -> None:
        """Raise if a load option that moves tensors names none of the model's, which llama.cpp does not tell.

        Raises:
            LoadRefusedError: It does.
        """
        with suppress(ModelError):
            names = [each.name for each in header_of(self._path).weights]
            written = self._options.tensor_buft_overrides
            for pattern in [each.partition("=")[0] for each in written.split(",") if each]:
                if names and not _matches(pattern, names):
                    raise LoadRefusedError(
                        f"{build}: tensor_buft_overrides: {pattern} matches no tensor of the model, such as "
                        f"{names[-1]}"
                    )
            if self._options.n_cpu_moe and names and not _matches(_EXPERTS, names):
                raise LoadRefusedError(
                    f"{build}: n_cpu_moe={self._options.n_cpu_moe}: the model has no experts; leave it out"
                )

    def check_positions(self, workload: Workload, build: str) -> None:
        """Raise if a sequence needs more positions than the model has learned, which llama.cpp aborts on.

        Raises:
            RequestFailedError: It does.
        """
        with suppress(ModelError):
            header = header_of(self._path)
            rows = [each.shape[1] for each in header.weights if each.name == _POSITIONS]
            needed = workload.tokens_per_sequence()
            if rows and needed > rows[0]:
                raise RequestFailedError(
                    f"{build}: the model has {rows[0]} positions, the workload needs {needed} tokens: lower "
                    "prompt_tokens in llm_workload"
                )

    def check_generates(self, build: str) -> None:
        """Raise if the file's header says that it is no model, or one that has no next token.

        Raises:
            NotCoveredError: It says so.
        """
        with suppress(ModelError):
            if reason := capability(header_of(self._path)).generation:
                raise NotCoveredError(f"{build}: {self._path}: {reason}")

    def check_text(self, opened: Sequence[OpenedFile], build: str) -> None:
        """Raise if the file holds text that would read as a message of llama.cpp in a program's log.

        Raises:
            LoadRefusedError: It does.
        """
        parts: list[tuple[Path, int | None]] = [(Path(each.path), each.descriptor) for each in opened]
        with suppress(ModelError):
            for part, descriptor in parts or [(each, None) for each in part_paths(self._path)]:
                found = _MESSAGE.search(str(part).encode()) or _MESSAGE.search(header_bytes(part, descriptor))
                if found:
                    raise LoadRefusedError(
                        f"{build}: {clean(part)} holds {quoted(found[0].decode(errors='replace'))}, which "
                        "would read as a message of llama.cpp in the program's log: measure it with "
                        "llama-cpp-python, which hands messages over one by one"
                    )

    def check(self, messages: Sequence[str], build: str, *, on_gpu: bool) -> None:
        """Raise if layers that were asked for are not on a device.

        With ``n_gpu_layers`` of -1, a machine without a device is no error.

        Args:
            messages: What llama.cpp wrote while it loaded, one by one.
            build: The build, for messages.
            on_gpu: Whether the build can put layers on a device, and layers were asked for.

        Raises:
            CPUFallbackError: They are not.
        """
        seen = bool(devices_used(messages))
        if self._options.n_gpu_layers > 0 and not (on_gpu and seen):
            reason = self._no_device(on_gpu=on_gpu)
        elif on_gpu and seen:
            predicted = self._predicted(on_device=True)
            unused = sum(int(each[1]) for each in matches(_UNUSED, messages))
            reason = shortfall(predicted, read_buffers(messages), self._options, unused) if predicted else ""
        else:
            return
        if reason:
            raise CPUFallbackError(f"{build}: {reason}", _placement_lines(messages))

    def check_weights(self, messages: Sequence[str], build: str, *, named: bool) -> None:
        """Check a program that makes its own context, and whose log may be empty.

        Args:
            messages: What llama.cpp wrote while it loaded, one by one.
            build: The build, for messages.
            named: Whether the program names a GPU; older programs know few kinds of GPUs.

        Raises:
            CPUFallbackError: Layers are not on a device. A program that names a GPU and writes no log passes.
        """
        on_gpu = named or bool(devices_used(messages))
        if read_buffers(messages) or not on_gpu:
            weights_alone = replace(self._options, offload_kqv=False)
            OffloadCheck(self._path, weights_alone).check(messages, build, on_gpu=on_gpu)

    def memory(self, messages: Sequence[str], *, on_gpu: bool) -> dict[str, JSON]:
        """Return what is predicted beside what llama.cpp wrote: :func:`.footprint.beside`."""
        predicted = self._predicted(on_device=on_gpu and bool(devices_used(messages)))
        if predicted is None:
            return {"reasons": ["the header cannot be read"]}
        return compare_with_log(predicted, read_buffers(messages))

    def _predicted(self, *, on_device: bool) -> Predicted | None:
        try:
            return predict_file(self._path, self._options, on_device=on_device)
        except ModelError:
            return None

    def _no_device(self, *, on_gpu: bool) -> str:
        wanted = self._options.n_gpu_layers
        predicted = self._predicted(on_device=True)
        asked = f"n_gpu_layers={wanted} asks for layers"
        if predicted:
            asked = requested_layers(predicted, self._options)
        why = "it found no device" if on_gpu else "it has no GPU backend, or none that finds a device"
        size = ""
        if predicted and predicted.weights is not None:
            size = f" with {predicted.weights.device / 2**20:.2f} MiB of weights"
        return (
            f"{asked} on a device{size}, and all of it is on the CPU: {why}; take a build for this machine's "
            "GPU, or n_gpu_layers=0"
        )


def _matches(pattern: str, names: list[str]) -> bool:
    try:
        return any(re.search(pattern, name) for name in names)
    except re.error:
        return True  # llama.cpp's own syntax decides


def _placement_lines(messages: Iterable[str]) -> tuple[str, ...]:
    return tuple(clean(each) for each in messages if _PLACEMENT.search(each))[-_LAST_LINES:]
