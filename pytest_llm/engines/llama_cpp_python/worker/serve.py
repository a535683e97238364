"""Takes requests one at a time and answers them, until its parent is gone."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from . import answers, devices, distributions, introspection, layouts, text, timing
from .bindings import Bindings, LackingError, RefusedError, UnusableError, import_llama
from .subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = Any
_PR_SET_PDEATHSIG = 1


class Server:
    """The worker's state: the bindings once they are imported, the subject once it is loaded."""

    def __init__(self) -> None:
        self._bindings: Bindings | None = None
        self._subject: Subject | None = None
        self._timed: timing.Timed | None = None
        self._stream: answers.Stream | None = None
        self._injected_slowdown = 0.0
        self.operations: dict[str, Callable[..., Answer]] = {
            "hello": self.hello,
            "symbols": introspection.symbols,
            "names": introspection.names,
            "structs": introspection.structs,
            "defaults": introspection.defaults,
            "layouts": self.layouts,
            "free_memory": self.free_memory,
            "load": self.load,
            "effective_options": self.effective_options,
            "graphs_reused": self.graphs_reused,
            "inject_slowdown": self.inject_slowdown,
            "rehearse": self.rehearse,
            "prompt_slice": self.prompt_slice,
            "generation_slice": self.generation_slice,
            "generate": self.generate,
            "request": self.request,
            "tokenize": self.tokenize,
            "detokenize": self.detokenize,
            "stream_open": self.stream_open,
            "stream_next": self.stream_next,
            "greedy": self.greedy,
            "top_logprobs": self.top_logprobs,
            "token_ids": self.token_ids,
            "render_chat": self.render_chat,
            "fill": self.fill,
            "write_logits": self.write_logits,
            "write_f32": self.write_f32,
        }

    def hello(self) -> Answer:
        """Import llama_cpp and describe the build."""
        self._bindings = Bindings()
        return self._bindings.describe()

    def layouts(self, library: str | None) -> Answer:
        """Say what is seen of the structs of a library, which must be the one in that folder."""
        assert self._bindings is not None, "hello comes first"
        if library is not None:
            self._bindings.check_library(library)
        return layouts.read_layouts(import_llama())

    def free_memory(self) -> Answer:
        """Say how much memory of each device is free."""
        assert self._bindings is not None, "hello comes first"
        return devices.free_memory(self._bindings)

    def load(self, path: str, options: dict[str, Any], all_logits: bool) -> Answer:
        """Load the model and make a context; answers the seconds that took."""
        assert self._bindings is not None, "hello comes first"
        self._subject, seconds = Subject.load(self._bindings, path, options, all_logits)
        return {"seconds": seconds, "on_gpu": self._subject.offloads()}

    def effective_options(self) -> Answer:
        """Say what the load options really are, and whether the subject is slower than it is."""
        found = self._loaded().effective_options()
        return {**found, "injected_slowdown": self._injected_slowdown} if self._injected_slowdown else found

    def graphs_reused(self) -> Answer:
        """Count the decodes that used the graph of the one before; null where the release does not."""
        subject = self._loaded()
        return subject.bindings.graphs_reused(subject.context)

    def inject_slowdown(self, share: float = 0.0) -> Answer:
        """From now on, make every decode of a slice or a request take 1 + ``share`` times as long."""
        self._injected_slowdown = timing.checked_share(share)
        if self._timed is not None:
            self._timed.injected_slowdown = self._injected_slowdown

    def rehearse(
        self, prompt_tokens: int, generate_tokens: int, depth: int, parallel: int, seed: int
    ) -> Answer:
        """Run one whole request untimed and stand at the workload's depth."""
        if self._timed is not None:
            self._timed.free()
        work = timing.Workload(prompt_tokens, generate_tokens, depth, parallel)
        self._timed = timing.Timed(self._loaded(), work, seed, injected_slowdown=self._injected_slowdown)
        self._timed.rehearse()
        return None

    def prompt_slice(self) -> Answer:
        """Time one ubatch of prompt."""
        return self._rehearsed().prompt_slice()

    def generation_slice(self, steps: int) -> Answer:
        """Time some decodes of one token a sequence."""
        return self._rehearsed().generation_slice(steps)

    def generate(self, steps: int) -> Answer:
        """Generate some tokens a sequence, untimed; answers how many there were in all."""
        return self._rehearsed().generate(steps)

    def request(self) -> Answer:
        """Time one whole request."""
        return self._rehearsed().request()

    def tokenize(self, content: str, add_special: bool, parse_special: bool) -> Answer:
        """Turn text into token ids."""
        return text.tokenize(self._loaded(), content, add_special, parse_special)

    def detokenize(self, tokens: list[int]) -> Answer:
        """Turn token ids into text."""
        return text.detokenize(self._loaded(), tokens)

    def stream_open(self, **arguments: Any) -> Answer:
        """Take in a prompt; ``stream_next`` then generates."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._stream = answers.Stream(self._loaded(), **arguments)

    def stream_next(self) -> Answer:
        """Generate one token, or say why there is none."""
        assert self._stream is not None, "stream_open comes first"
        return self._stream.next()

    def greedy(self, prompt: str, count: int) -> Answer:
        """Generate greedily, and say by how much each token led."""
        return answers.greedy(self._loaded(), prompt, count)

    def top_logprobs(self, prompt: str | list[int], top_k: int) -> Answer:
        """Say for each position of a prompt which tokens were likely to follow."""
        return answers.top_logprobs(self._loaded(), prompt, top_k)

    def token_ids(self, contents: list[str]) -> Answer:
        """Turn texts into token ids, each given as the hexadecimal digits of its bytes."""
        subject = self._loaded()
        return [text.tokenize_bytes(subject, bytes.fromhex(each), True, True) for each in contents]

    def render_chat(self, content: str) -> Answer:
        """Render the model's chat template around a user's message, "" where there is none."""
        template = text.chat_template(self._loaded())
        return text.render_chat(self._loaded(), template, content) if template else ""

    def fill(self, tokens: list[int], start: int) -> Answer:
        """Put tokens into the cache before logits are written."""
        distributions.fill(self._loaded(), tokens, start)

    def write_logits(self, **arguments: Any) -> Answer:
        """Write the logits of every position of a passage to a file."""
        return distributions.write_logits(self._loaded(), **arguments)

    def write_f32(self, source: str, target: str, threads: int) -> Answer:
        """Write a copy of a model with weights of 32 bits."""
        assert self._bindings is not None, "hello comes first"
        distributions.write_f32(self._bindings, source, target, threads)

    def _loaded(self) -> Subject:
        assert self._subject is not None, "load comes first"
        return self._subject

    def _rehearsed(self) -> timing.Timed:
        assert self._timed is not None, "rehearse comes first"
        return self._timed


def answer(server: Server, line: str) -> str:
    """Carry out one request line and return its answer line."""
    request = json.loads(line)
    operation = server.operations[request.pop("op")]
    try:
        result = {"ok": operation(**request)}
    except UnusableError as error:
        result = {"error": {"kind": "missing", "message": str(error)}}
    except LackingError as error:
        result = {"error": {"kind": "request", "message": str(error)}}
    except RefusedError as error:
        result = {"error": {"kind": error.kind, "message": str(error)}}
    return json.dumps(result) + "\n"


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with its parent; elsewhere the request pipe's end does it alone."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _read_requests(descriptor: int, lines: queue.Queue[str]) -> None:
    # Runs beside the work, so that the parent's end is noticed in the middle of a decode, too.
    with open(descriptor, encoding="utf-8") as requests:
        for line in requests:
            lines.put(line)
    os._exit(0)


def main(arguments: list[int]) -> None:
    """Serve until the parent closes the requests."""
    requests, answers, parent = arguments
    die_with_parent(parent)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests, lines), daemon=True).start()
    server = Server()
    with open(answers, "w", encoding="utf-8") as out:  # noqa: PTH123 - a descriptor, no path
        while True:
            out.write(answer(server, lines.get()))
            out.flush()
