"""Timing: everything that is timed, and nothing else.

A round is one request, cut into slices: each starts where the last one ended, from the workload's depth on. A
slice times decode and synchronize alone: drawing tokens, filling batches and taking the context back to the
depth happen outside. A request is timed as its caller sees it, from text to last token.

An injected slowdown lengthens both inside the timed region, to test whether a slowdown is called.
"""

from __future__ import annotations

import math
import random
import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from . import embeddings, finite
from .answers import Sampler
from .bindings import RefusedError
from .subject import Batch, Calls, LoadedSubject, Row
from .text import PromptWriter
from .threads import count_working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# The first steps after a pause pay for it: threads wake up, a GPU that another process used comes back. They
# are decoded twice: the first time untimed, and forgotten. Without a GPU the first slice of a round has no
# lead-in: a request's first step after its prompt builds another graph, too.
_LEAD_IN_STEPS, _LEAD_IN_STEPS_GPU = 1, 3
# While threads are counted: short next to a rehearsal, long enough for each thread to have a share.
_COUNTED_STEPS = 2


class Workload(NamedTuple):
    """See ``records.Workload``."""

    prompt_tokens: int
    generate_tokens: int
    depth: int
    parallel: int
    embed: bool = False


class Rehearsal(NamedTuple):
    """Findings of a first request.

    Attributes:
        step_seconds: The median seconds of a later token; 0 if it has none.
        graphs_reused: How many of its decodes used the graph of the one before; None if nothing counts them.
    """

    step_seconds: float
    graphs_reused: int | None


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
        injected_stalls: The share of slices and requests whose decodes take twice as long.
    """

    def __init__(
        self,
        subject: LoadedSubject,
        workload: Workload,
        seed: int,
        clock: Callable[[], int] = time.perf_counter_ns,
        injected_slowdown: float = 0.0,
        injected_stalls: float = 0.0,
    ) -> None:
        """Take a loaded subject; :meth:`rehearse` must come first.

        Args:
            subject: Loaded.
            workload: The work of a request.
            seed: Of the drawn tokens.
            clock: Nanoseconds; never goes back.
            injected_slowdown: See the attribute.
            injected_stalls: See the attribute.
        """
        self.injected_slowdown = injected_slowdown
        self.injected_stalls = injected_stalls
        self._subject = subject
        self._workload = workload
        self._random = random.Random(seed)
        self._clock = clock
        self._on_gpu = subject.offloads()
        self._lead_in = _LEAD_IN_STEPS_GPU if self._on_gpu else _LEAD_IN_STEPS
        self._prompt: list[Row] | None = None  # of the round; None at the depth
        self._read = 0
        self._generating = False
        self._positions: list[int] = []
        self._prompt_batches: list[Batch] = []
        self._step_batches: list[Batch] = []
        self._text_batches: list[Batch] = []
        self._writer = PromptWriter(subject, self._random)
        self._sampler = Sampler(subject)

    def rehearse(self) -> Rehearsal:
        """Fill the context to the depth, run one whole request, and go back to the depth.

        Raises:
            RefusedError: llama.cpp refuses the workload.
        """
        subject, work = self._subject, self._workload
        subject.embed(work.embed)
        subject.capability.require("embedding" if work.embed else "generation")
        subject.drop_states()
        if work.embed:
            before = subject.graphs_reused()
            self.embedding_slice()
            return Rehearsal(0.0, self._reused(before))
        self._to_depth()
        before = subject.graphs_reused()
        _, later = self.request(restore=False)
        reused = self._reused(before)
        last = work.depth + work.prompt_tokens + len(later) - 1
        if self._lead_in and not subject.forget([last] * work.parallel):
            self._lead_in = 0
        if not subject.roll_back(work.depth, work.parallel):
            self._to_depth()
            subject.save_states(work.parallel)
        self._begin()
        return Rehearsal(median(later) if later else 0.0, reused)

    def _reused(self, before: int | None) -> int | None:
        after = self._subject.graphs_reused()
        return None if before is None or after is None else after - before

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        """Time the next ``tokens`` tokens of the round's prompt: all of one sequence, then of the next."""
        subject, work = self._subject, self._workload
        if self._prompt is None:
            prompts = [self._tokens(work.prompt_tokens) for _ in range(work.parallel)]
            self._prompt = [row for chunk in subject.chunks(prompts, work.depth) for row in chunk]
        rows = self._prompt[self._read : self._read + tokens]
        if not rows:
            raise RefusedError("request", "the prompt of this round has been read")
        cut = [rows[at : at + subject.n_batch] for at in range(0, len(rows), subject.n_batch)]
        batches = self._filled(self._prompt_batches, cut, min(subject.n_batch, len(self._prompt)))
        nanoseconds = self._time(batches)
        finite.check_logits(subject, [at for at, row in enumerate(cut[-1]) if row.logits])
        self._read += len(rows)
        for row in rows:
            self._positions[row.sequence] = row.position + 1
        return len(rows), nanoseconds / 1e9

    def generation_slice(self, steps: int) -> tuple[int, float]:
        """Time the next ``steps`` decodes of one token a sequence."""
        work = self._workload
        cut = [
            [Row(token, at + step, sequence, True) for sequence, (at, token) in enumerate(self._next())]
            for step in range(steps)
        ]
        batches = self._filled(self._step_batches, cut, work.parallel)
        lead_in = batches[: self._lead_in]
        if lead_in and (self._generating or self._on_gpu):
            self._time(lead_in)
            self._subject.forget(self._positions)
        self._generating = True
        nanoseconds = self._time(batches)
        finite.check_logits(self._subject, range(work.parallel))
        self._positions = [at + steps for at in self._positions]
        return steps * work.parallel, nanoseconds / 1e9

    def end_round(self) -> None:
        """Go back to the depth, untimed; the next round has a fresh prompt."""
        self._restore()
        self._begin()

    def embedding_slice(self) -> tuple[int, float]:
        """Time the embedding of fresh texts, one a sequence, as many of them in a batch as it takes."""
        subject, work = self._subject, self._workload
        cut = embeddings.batches(subject, [self._tokens(work.prompt_tokens) for _ in range(work.parallel)])
        batches = self._filled(self._text_batches, cut, subject.n_ubatch)
        try:
            nanoseconds = self._time(batches)
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
        for batch in (*self._prompt_batches, *self._step_batches, *self._text_batches):
            batch.free()
        self._sampler.free()

    def _begin(self) -> None:
        self._prompt, self._read, self._generating = None, 0, False
        self._positions = [self._workload.depth] * self._workload.parallel

    def _next(self) -> Iterator[tuple[int, int]]:
        """Yield for each sequence its next position, and a token for it."""
        return zip(self._positions, self._tokens(self._workload.parallel))

    def _filled(self, made: list[Batch], cut: Sequence[Sequence[Row]], capacity: int) -> list[Batch]:
        """Return batches with these rows; more are made and kept if there are too few."""
        while len(made) < len(cut):
            made.append(Batch(self._subject.bindings, capacity))
        for batch, rows in zip(made, cut):
            batch.fill(rows)
        return made[: len(cut)]

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
        calls, share = self._subject.calls(), self.injected_slowdown
        if self.injected_stalls and self._random.random() < self.injected_stalls:
            share = 2 * (1 + share) - 1
        return slowed(calls, share, self._clock) if share else calls

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
