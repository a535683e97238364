"""Server of requests, one at a time, until the parent has ended."""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import TYPE_CHECKING, Any

from . import (
    answers,
    devices,
    distributions,
    embeddings,
    instructions,
    introspection,
    layouts,
    messages,
    text,
    timing,
)
from .bindings import Bindings, LackingError, RefusedError, UnusableError
from .subject import LoadedSubject

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = Any


# Requests by name. These need a loaded model, which is their first argument.
_OF_A_MODEL: dict[str, Callable[..., Answer]] = {
    "graphs_reused": LoadedSubject.graphs_reused,
    "tokenize": text.tokenize,
    "detokenize": text.detokenize,
    "token_ids": text.token_ids,
    "render_chat": text.render_chat,
    "greedy": answers.greedy,
    "top_logprobs": answers.top_logprobs,
    "fill": distributions.fill,
    "write_logits": distributions.write_logits,
    "embed": embeddings.embed,
    "count_instructions": instructions.count,
}
# These need a model that stands at a workload's depth.
_AT_A_DEPTH: dict[str, Callable[..., Answer]] = {
    "prompt_slice": timing.Timed.prompt_slice,
    "embedding_slice": timing.Timed.embedding_slice,
    "generation_slice": timing.Timed.generation_slice,
    "end_round": timing.Timed.end_round,
    "generate_steps": timing.Timed.generate_steps,
    "count_threads": timing.Timed.count_threads,
    "request": timing.Timed.request,
}
# These need ``llama_cpp`` imported.
_OF_A_BUILD: dict[str, Callable[..., Answer]] = {
    "package": Bindings.package,
    "layouts": layouts.read_layouts,
    "free_memory": devices.free_memory,
    "write_copy": distributions.write_copy,
}
# These need nothing.
_OF_A_PACKAGE: dict[str, Callable[..., Answer]] = {
    "symbols": introspection.symbols,
    "names": introspection.names,
    "structs": introspection.structs,
    "defaults": introspection.defaults,
}


class Server:
    """The bindings once they are imported, and the subject once it is loaded."""

    def __init__(self) -> None:
        self._bindings: Bindings | None = None
        self._subject: LoadedSubject | None = None
        self._timed: timing.Timed | None = None
        self._stream: answers.Stream | None = None
        self._injected = {"injected_slowdown": 0.0, "injected_stalls": 0.0}

    def answer(self, operation: str, **arguments: Any) -> Answer:
        for table, state in (
            (_OF_A_BUILD, self._bindings),
            (_OF_A_MODEL, self._subject),
            (_AT_A_DEPTH, self._timed),
        ):
            if operation in table:
                assert state is not None, f"{operation} comes too early"
                return table[operation](state, **arguments)
        if operation in _OF_A_PACKAGE:
            return _OF_A_PACKAGE[operation](**arguments)
        return getattr(self, f"do_{operation}")(**arguments)

    def do_hello(self) -> Answer:
        self._bindings = Bindings()
        return self._bindings.describe()

    def do_load(self, path: str, options: dict[str, Any], all_logits: bool, lora: Any) -> Answer:
        bindings = self._imported()
        with messages.collected(bindings) as found:
            self._subject, seconds = LoadedSubject.load(bindings, path, options, all_logits, lora)
        return {
            "messages": found,
            "seconds": seconds,
            "on_gpu": self._subject.offloads(),
            "capability": self._subject.capability._asdict(),
        }

    def do_effective_options(self) -> Answer:
        return {**self._loaded().effective_options(), **{k: v for k, v in self._injected.items() if v}}

    def do_inject_slowdown(self, share: float, stalls: float) -> Answer:
        self._injected = {
            "injected_slowdown": timing.checked_share(share),
            "injected_stalls": timing.checked_share(stalls),
        }
        if self._timed is not None:
            for name, value in self._injected.items():
                setattr(self._timed, name, value)

    def do_rehearse(self, seed: int, **workload: Any) -> Answer:
        if self._timed is not None:
            self._timed.free()
        work = timing.Workload(**workload)
        slowdown, stalls = self._injected.values()
        self._timed = timing.Timed(
            self._loaded(), work, seed, injected_slowdown=slowdown, injected_stalls=stalls
        )
        return self._timed.rehearse()._asdict()

    def do_stream_open(self, **arguments: Any) -> Answer:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._stream = answers.Stream(self._loaded(), **arguments)

    def do_stream_next(self) -> Answer:
        assert self._stream is not None, "stream_open comes first"
        return self._stream.next()

    def _imported(self) -> Bindings:
        assert self._bindings is not None, "hello comes first"
        return self._bindings

    def _loaded(self) -> LoadedSubject:
        assert self._subject is not None, "load comes first"
        return self._subject


def answer(server: Server, line: str) -> str:
    """Carry out one request line and return its answer line, which has the request's number."""
    request = json.loads(line)
    number = request.pop("id")
    try:
        result = {"ok": server.answer(request.pop("op"), **request)}
    except UnusableError as error:
        result = {"error": {"kind": "missing", "message": str(error)}}
    except LackingError as error:
        result = {"error": {"kind": "request", "message": str(error)}}
    except RefusedError as error:
        result = {"error": {"kind": error.kind, "message": str(error)}}
    try:
        return json.dumps({"id": number, **result}, allow_nan=False) + "\n"
    except ValueError:
        wrong = {"kind": "output", "message": "NaN or infinite numbers: whatever it computes is wrong"}
        return json.dumps({"id": number, "error": wrong}) + "\n"


def _read_requests(descriptor: int, lines: queue.Queue[str]) -> None:
    # Runs beside the work, so that the parent's end is noticed in the middle of a decode, too.
    with open(descriptor, encoding="utf-8") as requests:
        for line in requests:
            lines.put(line)
    os._exit(0)


def main(requests: int, answers: int) -> None:
    """Serve until the parent closes the requests."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests, lines), daemon=True).start()
    server = Server()
    with open(answers, "w", encoding="utf-8") as out:
        while True:
            out.write(answer(server, lines.get()))
            out.flush()
