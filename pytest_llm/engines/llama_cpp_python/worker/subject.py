"""Subject: a loaded model with its context; batches, and going back to a depth."""

from __future__ import annotations

import ctypes
import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from . import adapters, capability
from .bindings import RefusedError
from .params import NUMA, context_params, model_params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .bindings import Bindings


class Row(NamedTuple):
    """One token of a batch."""

    token: int
    position: int
    sequence: int
    logits: bool


class Calls(NamedTuple):
    """The two functions that run a batch: llama.cpp's own, or slowed ones."""

    decode: Callable[[Any, Any], int]
    synchronize: Callable[[Any], Any]


class Batch:
    """A ``llama_batch`` with explicit positions and sequences, made once and filled often."""

    def __init__(self, bindings: Bindings, capacity: int) -> None:
        self.struct = bindings.llama.llama_batch_init(capacity, 0, 1)
        self._free = bindings.llama.llama_batch_free

    def fill(self, rows: Sequence[Row]) -> None:
        struct = self.struct
        struct.n_tokens = len(rows)
        for index, row in enumerate(rows):
            struct.token[index] = row.token
            struct.pos[index] = row.position
            struct.n_seq_id[index] = 1
            struct.seq_id[index][0] = row.sequence
            struct.logits[index] = row.logits

    def free(self) -> None:
        self._free(self.struct)


class LoadedSubject:
    """A model, its context and its vocabulary."""

    def __init__(self, bindings: Bindings, model: Any, context: Any, asked: dict[str, Any]) -> None:
        self.bindings = bindings
        self.llama = bindings.llama
        self.model = model
        self.context = context
        self.memory = bindings.memory_of(context)
        self.asked = asked
        self.vocabulary = bindings.vocabulary_of(model)
        self.n_vocabulary: int = self.llama.llama_vocab_n_tokens(self.vocabulary)
        self.n_batch: int = self.llama.llama_n_batch(context)
        self.n_ubatch: int = self.llama.llama_n_ubatch(context)
        self.has_encoder = self._tells("llama_model_has_encoder", otherwise=False)
        self.has_decoder = self._tells("llama_model_has_decoder", otherwise=True)
        self.remembers = bindings.remembers(model, self.memory)
        self.pooling = bindings.pooling_type(context)
        self._embeds = False
        self._batch = Batch(bindings, self.n_batch)
        self._states: dict[int, ctypes.Array[ctypes.c_uint8]] = {}

    @classmethod
    def load(
        cls,
        bindings: Bindings,
        path: str,
        options: dict[str, Any],
        all_logits: bool,
        lora: Sequence[tuple[str, float]] = (),
    ) -> tuple[LoadedSubject, float]:
        """Load a model and make a context; return it with the seconds that took.

        Args:
            bindings: What the installed release offers.
            path: The GGUF file.
            options: Every field of ``records.LoadOptions``.
            all_logits: Make room for the logits of every token of an ubatch, not of the last alone.
            lora: Files of adapters, and their scales.

        Raises:
            RefusedError: llama.cpp refused the file or the options.
        """
        llama = bindings.llama
        if options["numa"] != "disabled":
            llama.llama_numa_init(NUMA[options["numa"]])
        for_model, for_context = model_params(bindings, options), context_params(llama, options, all_logits)
        started = time.perf_counter()
        model = llama.llama_model_load_from_file(path.encode(), for_model)
        if not model:
            raise RefusedError("load", "llama.cpp refused to load the model")
        changes = adapters.read(bindings, model, [file for file, _ in lora])
        context = llama.llama_init_from_model(model, for_context)
        if not context:
            raise RefusedError("load", "llama.cpp loaded the model but refused to make a context")
        adapters.apply(bindings, context, changes, [scale for _, scale in lora])
        llama.llama_synchronize(context)
        seconds = time.perf_counter() - started
        return cls(bindings, model, context, options), seconds

    @functools.cached_property
    def capability(self) -> capability.Capability:
        """The capabilities of the model; reading them leaves the context empty."""
        return capability.ask(self)

    def _tells(self, name: str, *, otherwise: bool) -> bool:
        return bool(getattr(self.llama, name)(self.model)) if self.bindings.has(name) else otherwise

    def effective_options(self) -> dict[str, Any]:
        """Return the options that functions tell; the rest is in llama.cpp's log."""
        llama, context = self.llama, self.context
        return {
            "n_ctx": llama.llama_n_ctx(context),
            "n_batch": self.n_batch,
            "n_ubatch": self.n_ubatch,
            **self._sequences(),
            "n_threads": llama.llama_n_threads(context),
            "n_threads_batch": llama.llama_n_threads_batch(context),
            "weights_bytes": llama.llama_model_size(self.model),
            "vocabulary_type": self.bindings.vocabulary_type(self.vocabulary),
            **self.bindings.chat_template(self.model),
        }

    def _sequences(self) -> dict[str, Any]:
        """Return the room for sequences; nothing for releases that return the cells of the cache instead."""
        reported = self.llama.llama_n_seq_max(self.context)
        means_cells = reported == self.llama.llama_n_ctx(self.context) and reported != self.asked["n_seq_max"]
        return {} if means_cells else {"n_seq_max": reported}

    def graphs_reused(self) -> int | None:
        """Return how many decodes used the compute graph of the one before; None if nothing counts them."""
        return self.bindings.graphs_reused(self.context)

    def offloads(self) -> bool:
        """Whether layers were to go to a GPU, and this build can put them there."""
        can: bool = self.llama.llama_supports_gpu_offload()
        return can and self.asked["n_gpu_layers"] != 0

    def calls(self) -> Calls:
        # Without a memory, llama_decode would call llama_encode, and write so.
        encodes = self._embeds and (self.has_encoder or not self.remembers)
        return Calls(
            self.llama.llama_encode if encodes else self.llama.llama_decode, self.llama.llama_synchronize
        )

    def embed(self, wanted: bool) -> None:
        """Have decodes compute embeddings, or logits again."""
        if wanted != self._embeds:
            self.llama.llama_set_embeddings(self.context, wanted)
            self._embeds = wanted

    def decode(self, rows: Sequence[Row], calls: Calls | None = None) -> None:
        """Decode up to ``n_batch`` rows and wait for the end of it.

        Args:
            rows: The batch.
            calls: What runs it, if not llama.cpp's own functions.

        Raises:
            RefusedError: llama.cpp answered anything but success.
        """
        decode, synchronize = calls or self.calls()
        self._batch.fill(rows)
        self.check(decode(self.context, self._batch.struct))
        synchronize(self.context)

    def check(self, code: int) -> None:
        """Raise unless a decode succeeded.

        Raises:
            RefusedError: It did not.
        """
        if code == 1:
            raise RefusedError("request", "llama.cpp found no room in the context (raise n_ctx)")
        if code:
            raise RefusedError("request", f"llama_decode failed with code {code}")

    def clear(self) -> None:
        if self.remembers:
            self.bindings.memory_clear(self.memory)

    def prefill(self, prompts: Sequence[Sequence[int]], start: int = 0) -> None:
        """Decode one prompt a sequence, from position ``start`` on."""
        for rows in self.chunks(prompts, start):
            self.decode(rows)

    def chunks(self, prompts: Sequence[Sequence[int]], start: int) -> list[list[Row]]:
        """Cut one prompt a sequence into batches; the last token of each prompt asks for logits."""
        rows = [
            Row(token, start + index, sequence, index == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for index, token in enumerate(prompt)
        ]
        return [rows[index : index + self.n_batch] for index in range(0, len(rows), self.n_batch)]

    def forget(self, positions: Sequence[int]) -> bool:
        """Forget what each sequence holds from a position on; False if this kind of memory cannot."""
        return all(
            self.bindings.memory_seq_rm(self.memory, sequence, position)
            for sequence, position in enumerate(positions)
        )

    def roll_back(self, depth: int, sequences: int) -> bool:
        """Forget everything past ``depth``; False if this kind of memory cannot.

        Recurrent and sliding-window memories refuse, or have already overwritten earlier tokens.
        """
        if depth == 0:
            self.clear()
            return True
        if self._states:
            return self._restore()
        for sequence in range(sequences):
            first, _ = self.bindings.memory_span(self.memory, sequence)
            if first != 0 or not self.bindings.memory_seq_rm(self.memory, sequence, depth):
                return False
            if self.bindings.memory_span(self.memory, sequence) != (0, depth - 1):
                return False
        return True

    def save_states(self, sequences: int) -> None:
        """Save each sequence, for :meth:`roll_back` in memories that cannot forget single tokens."""
        for sequence in range(sequences):
            size = self.llama.llama_state_seq_get_size(self.context, sequence)
            buffer = (ctypes.c_uint8 * size)()
            self.llama.llama_state_seq_get_data(self.context, buffer, size, sequence)
            self._states[sequence] = buffer

    def drop_states(self) -> None:
        self._states.clear()

    def _restore(self) -> bool:
        self.clear()
        return all(
            self.llama.llama_state_seq_set_data(self.context, buffer, len(buffer), sequence)
            for sequence, buffer in self._states.items()
        )
