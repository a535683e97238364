"""Timing: everything that is timed, and nothing else.

A slice times decode and synchronize alone: drawing tokens, filling batches and taking the context back to the
workload's depth happen outside. A request is timed as its caller sees it, from text to last token.

An injected slowdown lengthens both inside the timed region, to test whether a slowdown is called.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from . import embeddings, finite
from .answers import Sampler
from .bindings import RefusedError
from .subject import Batch, Calls, LoadedSubject, Row
from .text import PromptWriter
from .threads import count_working

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The first token after a prompt rebuilds the graph; on a GPU the next one captures it and only the third
# replays it.
_LEAD_IN_STEPS_CPU = 1
_LEAD_IN_STEPS_GPU = 3
# While threads are counted: short next to a rehearsal, long enough for each thread to have a share.
_COUNTED_STEPS = 2


class Workload(NamedTuple):
    """See ``records.Workload``."""

    prompt_tokens: int
    generate_tokens: int
    depth: int
    parallel: int
    embed: bool = False


def checked_share(share: float) -> float:
    """Return the share of an injected slowdown; raise RefusedError if it is negative or not finite."""
    if not 0 <= share < math.inf:
        raise RefusedError("request", f"an injected slowdown is a share of the time, 0 or more, not {share}")
    return share


def slowed(calls: Calls, share: float, clock: Callable[[], int]) -> Calls:
    """Return calls that take 1 + ``share`` times as long, from decode to the end of synchronize."""
    started = 0

    def decode(context: Any, struct: Any) -> int:
        nonlocal started
        started = clock()
        return calls.decode(context, struct)

    def synchronize(context: Any) -> None:
        calls.synchronize(context)
        ended = clock()
        until = ended + share * (ended - started)
        while clock() < until:
            pass

    return Calls(decode, synchronize)


class Timed:
    """A subject at a workload's depth.

    Attributes:
        injected_slowdown: The share by which each decode of a slice or a request takes longer.
    """

    def __init__(
        self,
        subject: LoadedSubject,
        workload: Workload,
        seed: int,
        clock: Callable[[], int] = time.perf_counter_ns,
        injected_slowdown: float = 0.0,
    ) -> None:
        """Take a loaded subject; :meth:`rehearse` must come first.

        Args:
            subject: Loaded.
            workload: The work of a request.
            seed: Of the drawn tokens.
            clock: Nanoseconds; never goes back.
            injected_slowdown: See the attribute.
        """
        self.injected_slowdown = injected_slowdown
        self._subject = subject
        self._workload = workload
        self._random = random.Random(seed)
        self._clock = clock
        self._lead_in = _LEAD_IN_STEPS_GPU if subject.offloads() else _LEAD_IN_STEPS_CPU
        self._prompt_batch = Batch(subject.bindings, subject.n_ubatch)
        self._step_batches: list[Batch] = []
        self._text_batches: list[Batch] = []
        self._writer = PromptWriter(subject, self._random)
        self._sampler = Sampler(subject)

    def rehearse(self) -> int | None:
        """Fill the context to the depth, run one whole request, and go back to the depth.

        Returns:
            How many decodes of the request used the graph of the one before; None if nothing counts them.

        Raises:
            RefusedError: llama.cpp refuses the workload.
        """
        subject, work = self._subject, self._workload
        subject.embed(work.embed)
        subject.capability.require("embedding" if work.embed else "generation")
        subject.drop_states()
        if work.embed:
            return self._reused(self.embedding_slice)
        self._to_depth()
        reused = self._reused(lambda: self.request(restore=False))
        if not subject.roll_back(work.depth, work.parallel):
            self._to_depth()
            subject.save_states(work.parallel)
        return reused

    def _reused(self, work: Callable[[], object]) -> int | None:
        before = self._subject.graphs_reused()
        work()
        after = self._subject.graphs_reused()
        return None if before is None or after is None else after - before

    def prompt_slice(self) -> tuple[int, float]:
        """Time one ubatch of fresh prompt (the whole prompt, if shorter) at the depth."""
        subject, work = self._subject, self._workload
        prompts = [self._tokens(work.prompt_tokens) for _ in range(work.parallel)]
        rows = [row for chunk in subject.chunks(prompts, work.depth) for row in chunk]
        rows = rows[: subject.n_ubatch]
        rows[-1] = rows[-1]._replace(logits=True)
        self._prompt_batch.fill(rows)
        try:
            nanoseconds = self._time([self._prompt_batch])
            finite.check_logits(subject, [len(rows) - 1])
        finally:
            self._restore()
        return len(rows), nanoseconds / 1e9

    def generation_slice(self, steps: int) -> tuple[int, float]:
        """Time ``steps`` decodes of one token a sequence at the depth, after an untimed lead-in."""
        count = self._lead_in + steps
        while len(self._step_batches) < count:
            self._step_batches.append(Batch(self._subject.bindings, self._workload.parallel))
        for step, batch in enumerate(self._step_batches[:count]):
            batch.fill(self._step(step, self._tokens(self._workload.parallel)))
        try:
            self._time(self._step_batches[: self._lead_in])
            nanoseconds = self._time(self._step_batches[self._lead_in : count])
            finite.check_logits(self._subject, range(self._workload.parallel))
        finally:
            self._restore()
        return steps * self._workload.parallel, nanoseconds / 1e9

    def embedding_slice(self) -> tuple[int, float]:
        """Time the embedding of fresh texts, one a sequence, as many of them in a batch as it takes."""
        subject, work = self._subject, self._workload
        cut = embeddings.batches(subject, [self._tokens(work.prompt_tokens) for _ in range(work.parallel)])
        while len(self._text_batches) < len(cut):
            self._text_batches.append(Batch(subject.bindings, subject.n_ubatch))
        for batch, rows in zip(self._text_batches, cut):
            batch.fill(rows)
        try:
            nanoseconds = self._time(self._text_batches)
            embeddings.check(subject, cut[-1])
        finally:
            subject.clear()
        return work.parallel * work.prompt_tokens, nanoseconds / 1e9

    def generate_steps(self, steps: int) -> int:
        """Generate ``steps`` tokens a sequence from the depth on, untimed; return how many in all."""
        subject, tokens = self._subject, self._tokens(self._workload.parallel)
        try:
            for step in range(steps):
                subject.decode(self._step(step, tokens))
                tokens = [self._sampler.sample(sequence) for sequence in range(self._workload.parallel)]
        finally:
            self._restore()
        return steps * self._workload.parallel

    def count_threads(self) -> dict[str, int] | None:
        """Return how many threads decode single tokens or embed texts, and on how many processors."""
        if self._workload.embed:
            return count_working(self.embedding_slice)
        return count_working(lambda: self.generate_steps(_COUNTED_STEPS))

    def request(self, *, restore: bool = True) -> tuple[float, list[float]]:
        """Time one whole request: to the first token, then from token to token."""
        subject, work, sampler = self._subject, self._workload, self._sampler
        calls = self._calls()
        contents = [self._writer.write(work.prompt_tokens) for _ in range(work.parallel)]
        marks = [self._clock()]
        prompts = [self._writer.read(content, work.prompt_tokens) for content in contents]
        tokens = [0] * work.parallel
        ends: Sequence[int] = ()
        for rows in subject.chunks(prompts, work.depth):
            subject.decode(rows, calls)
            ends = [index for index, row in enumerate(rows) if row.logits]
            for index in ends:
                tokens[rows[index].sequence] = sampler.sample(index)
        marks.append(self._clock())
        for step in range(work.generate_tokens - 1):
            ends = range(work.parallel)
            subject.decode(self._step(work.prompt_tokens + step, tokens), calls)
            tokens = [sampler.sample(sequence) for sequence in range(work.parallel)]
            marks.append(self._clock())
        finite.check_logits(subject, ends)
        if restore:
            self._restore()
        first, *others = ((after - before) / 1e9 for before, after in zip(marks, marks[1:]))
        return first, others

    def free(self) -> None:
        for batch in (self._prompt_batch, *self._step_batches, *self._text_batches):
            batch.free()
        self._sampler.free()

    def _time(self, batches: Sequence[Batch]) -> int:
        """Return the nanoseconds that decoding these batches takes; nothing else is in the timed region."""
        decode, synchronize = self._calls()
        context, clock = self._subject.context, self._clock
        structs = [batch.struct for batch in batches]
        code = 0
        started = clock()
        for struct in structs:
            code |= decode(context, struct)
            synchronize(context)
        elapsed = clock() - started
        self._subject.check(code)
        return elapsed

    def _calls(self) -> Calls:
        # Chosen before the clock is first read, so that only a slowed subject pays for it.
        calls = self._subject.calls()
        return slowed(calls, self.injected_slowdown, self._clock) if self.injected_slowdown else calls

    def _step(self, step: int, tokens: Sequence[int]) -> list[Row]:
        position = self._workload.depth + step
        return [Row(token, position, sequence, True) for sequence, token in enumerate(tokens)]

    def _to_depth(self) -> None:
        subject, work = self._subject, self._workload
        subject.clear()
        if work.depth:
            subject.prefill([self._tokens(work.depth) for _ in range(work.parallel)])

    def _restore(self) -> None:
        if not self._subject.roll_back(self._workload.depth, self._workload.parallel):
            raise RefusedError("request", "llama.cpp did not take the context back to the depth")

    def _tokens(self, count: int) -> list[int]:
        # As llama-bench does: which token it is does not matter for speed.
        return [self._random.randrange(self._subject.n_vocabulary) for _ in range(count)]
