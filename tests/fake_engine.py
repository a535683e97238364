"""A fake engine: scripted speeds, outputs and faults, exact and at once, in pytest's own process.

Tokens are bytes, and every logit follows from token and position, so that what a build says can be changed as
precisely as how fast it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from array import array
from dataclasses import asdict, dataclass, field, replace
from functools import cache, lru_cache
from math import cos, isfinite, sin
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llm.engines import ENGINES, EngineEntry
from pytest_llm.errors import (
    EngineError,
    LoadRefusedError,
    NotCoveredError,
    RequestFailedError,
    WrongOutputError,
)
from pytest_llm.records import Build, Control, Series
from pytest_llm.records.generation import Completion, GGUFModel, Greedy, Likely, Position, Token
from pytest_llm.records.metrics import COUNTED_INSTRUCTIONS
from pytest_llm.records.protocols import EMBEDS_ONLY, Coverage
from pytest_llm.stats.divergence import log_softmax
from pytest_llm.system.sandbox import Policy

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from pytest_llm.records import JSON, BuildReference, Model, Passage, Subject, Workload
    from pytest_llm.records.generation import Sampling
    from pytest_llm.records.inside import ServerInside

NAME = "fake"
ENGINES.register(
    NAME,
    EngineEntry(
        "tests.fake_engine:FakeEngine",
        places=("release", "venv", "cmd"),
        locks=True,
        as_caller=True,
        control="tests.fake_engine:control",
    ),
)

# A tool that runs the fake engine inside.
TOOL = "fake-tool"
ENGINES.register(TOOL, EngineEntry("tests.fake_engine:FakeTool", locks=True, wraps=NAME, as_caller=True))

# A tool that has the library itself.
LIBRARY_TOOL = "fake-library-tool"
ENGINES.register(LIBRARY_TOOL, EngineEntry("tests.fake_engine:FakeEngine", locks=True, as_caller=True))

_END = 256  # every byte is a token; one more ends an answer
_LEAD = 8.0  # of a picked token over all others


@dataclass(frozen=True)
class Script:
    """What a build of the fake engine does.

    Attributes:
        token_seconds: Seconds to decode a token.
        load_seconds: Seconds to load a model, by its own account.
        pause: Seconds that loading really takes.
        jitter: Share of ``token_seconds`` by which decodes differ at most.
        flash_gain: Share by which flash attention makes decodes faster.
        flash_attention: "on" or "off", whatever was asked for.
        version: Version of the build.
        commit: Commit of the build.
        features: Features that it was compiled with.
        template: The model's chat template.
        asker: What the chat template calls the user.
        no_template: Why the chat template is not rendered.
        first_letter: The letter that answers begin with.
        token_shift: Added to every token id of a text.
        rounding: In which of eleven ways logits are rounded.
        logit_error: Error of logits, in steps of up to six times that.
        nan_at: Position whose logits hold NaN.
        nan_in: End of the names of files that have it; all by default.
        environment: Variables that its process sees.
        threads_at_work: How many of its threads can work at once; None if it does not tell.
        machine: What the machine copies and computes in a second; nothing if that is not measured.
        fault: Where an error is raised: "start", "load", "quantize", "write" or "tokens:N", a request of N
            prompt tokens.
        not_a_model: Why the file cannot be loaded at all.
        no_generation: Why the model has no next token.
        no_embedding: Why it embeds nothing.
        broken: Whether slices end in NaN.
        turn: Radians by which embeddings are turned.
        libraries: Files that its process has mapped.
        counts: What it counts beside times, by series; a text is the reason why it cannot.
    """

    token_seconds: float = 1 / 128
    load_seconds: float = 0.25
    pause: float = 0.0
    jitter: float = 0.0
    flash_gain: float = 0.0
    flash_attention: str = ""
    version: str = "1.0"
    commit: str = "57a9d1234"
    features: str = "PRETENDED"
    template: str = "fake"
    asker: str = "user"
    no_template: str = ""
    first_letter: str = "a"
    token_shift: int = 0
    rounding: int = 0
    logit_error: float = 0.0
    nan_at: int = -1
    nan_in: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    threads_at_work: float | None = None
    machine: tuple[()] | tuple[float, float] = ()
    fault: str = ""
    not_a_model: str = ""
    no_generation: str = ""
    no_embedding: str = ""
    broken: bool = False
    turn: float = 0.0
    libraries: tuple[Path, ...] = ()
    counts: Mapping[str, float | str] = field(default_factory=dict)


class Fake:
    """Scripts of the candidate and of the reference, what was started so far, and how busy the machine is."""

    def __init__(self) -> None:
        self.candidate = Script()
        self.reference: dict[str, Any] = {}
        self.flags: dict[str, Any] = {}  # of a build with a command line
        self.started: list[FakeSubject] = []
        self.other_load = 0.0
        self.inside: ServerInside | None = None

    def set(self, **values: Any) -> None:
        """Change what every build does."""
        self.candidate = replace(self.candidate, **values)

    def set_reference(self, **values: Any) -> None:
        """Change what the reference does otherwise."""
        self.reference.update(values)

    def alive(self) -> list[FakeSubject]:
        """Return what was started and not closed."""
        return [each for each in self.started if each.alive]

    def script(self, build: BuildReference) -> Script:
        chosen = self.flags if build.kind == "cmd" else self.reference
        return replace(self.candidate, **chosen) if build.kind != "installed" else self.candidate


@dataclass
class _Current:
    """The scripts of the test that runs."""

    fake: Fake = field(default_factory=Fake)


CURRENT = _Current()


def control(threads: int) -> Control | None:
    """Return the speed of the machine that the candidate's script names."""
    rates = CURRENT.fake.candidate.machine
    return Control(*rates, threads, "fake") if rates else None


class FakeEngine:
    """An ``Engine``; the candidate is called by the engine's name alone, the reference has a place."""

    def __init__(
        self, build: BuildReference, timeout: float, made: str = "", policy: Policy | None = None
    ) -> None:
        self._reference = build
        self._policy = policy or Policy()

    def describe(self) -> Build:
        script = CURRENT.fake.script(self._reference)
        compiled_with = f"CPU : {script.features} = 1"
        return Build(
            NAME, script.version, script.commit, str(self._reference), compiled_with, dict(script.environment)
        )

    def start(self, subject: Subject, model: Model) -> FakeSubject:
        script = CURRENT.fake.script(self._reference)
        if script.fault == "start":
            raise EngineError(f"{self._reference}: it does not start")
        if not self._policy.counts:
            counts = {name: each for name, each in script.counts.items() if name != COUNTED_INSTRUCTIONS}
            script = replace(script, counts=counts)
        started = FakeSubject(self.describe(), subject, model, script)
        CURRENT.fake.started.append(started)
        return started

    start_generation = start


class FakeTool(FakeEngine):
    """The fake engine as a tool runs it, with a flag of its own."""

    def start(self, subject: Subject, model: Model) -> FakeSubject:
        found = super().start(subject, model)
        found.inside = CURRENT.fake.inside
        return found


class FakeSubject(GGUFModel):
    """A ``Loaded`` and a ``GGUFModel``."""

    on_gpu = False
    continues = True
    inside: ServerInside | None = None

    def __init__(self, build: Build, subject: Subject, model: Model, script: Script) -> None:
        self.build = build
        self.info = model
        self._alive = True
        self._reference = subject.build
        self._script = script
        self._options = subject.load_options
        self._workload: Workload | None = None
        self._slowdown = 0.0
        self._decodes = 0
        self._read = 0

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def pid(self) -> int:
        return os.getpid()

    def coverage(self, workload: Workload) -> Coverage:
        if workload.embed:
            reason = self._script.no_embedding
            return Coverage(slices=not reason, requests=False, reason=reason or EMBEDS_ONLY)
        reason = self._script.no_generation
        return Coverage(slices=not reason, requests=not reason, reason=reason)

    def libraries(self) -> frozenset[Path]:
        return frozenset(self._script.libraries)

    def load(self) -> float:
        if self._script.not_a_model:
            raise NotCoveredError(f"{self._reference}: {self._script.not_a_model}")
        self._fault("load", f"it refused to load {self.info.path}", LoadRefusedError)
        time.sleep(self._script.pause)
        return self._script.load_seconds

    def effective_options(self) -> Mapping[str, JSON]:
        template = hashlib.sha256(self._script.template.encode()).hexdigest()[:12]
        found: dict[str, JSON] = {
            **asdict(self._options),
            "flash_attn": self._flash_attention,
            "weights_bytes": 1_000_000,
            "vocabulary_type": "SPM",
            "chat_template": template,
        }
        if self._script.threads_at_work is not None:
            found["threads_at_work"] = self._script.threads_at_work
        return {**found, "injected_slowdown": self._slowdown} if self._slowdown else found

    @property
    def _flash_attention(self) -> str:
        asked = "on" if self._options.flash_attn == "on" else "off"
        return self._script.flash_attention or asked

    def invariants(self) -> Mapping[str, JSON]:
        here = (
            "n_threads",
            "n_threads_batch",
            "threads_at_work",
            "weights_bytes",
        )  # of this machine, or below
        options = {name: each for name, each in self.effective_options().items() if name not in here}
        found: dict[str, JSON] = {
            "effective_options": {**options, "graph_reuse": "on"},
            "weights_bytes": 1_000_000,
            "token_ids": list(self.tokenize("Naïve café")),
        }
        if self._script.no_generation:
            return found
        output = self.greedy("The capital of France is", 12)
        return {
            **found,
            "greedy_output": list(output.tokens),
            "greedy_leads": [round(each, 3) for each in output.leads],
        }

    def inject_slowdown(self, share: float, stalls: float = 0.0) -> None:
        self._slowdown = share

    def counts(self) -> Mapping[str, Series]:
        return {
            name: Series((), note=each) if isinstance(each, str) else Series((each,))
            for name, each in self._script.counts.items()
        }

    def on_devices(self) -> Mapping[str, float]:
        return {}

    def rehearse(self, workload: Workload) -> float:
        self._workload, self._read = workload, 0
        if workload.embed:
            return 0.0
        _, later = self.request()
        return abs(later[0]) if later and isfinite(later[0]) else 0.0

    @property
    def _work(self) -> Workload:
        assert self._workload is not None, "rehearse comes first"
        return self._workload

    def embedding_slice(self) -> tuple[int, float]:
        assert self._work.embed
        self._check_finite()
        tokens = self._work.prompt_tokens * self._work.parallel
        return tokens, self._decode(tokens)

    def _check_finite(self) -> None:
        if self._script.broken:
            raise WrongOutputError(f"{self._reference}: NaN or infinite logits")

    @property
    def prompt_batch(self) -> int:
        return self._options.n_ubatch

    def prompt_slice(self, tokens: int) -> tuple[int, float]:
        self._check_finite()
        self._read += tokens
        assert self._read <= self._work.prompt_tokens * self._work.parallel, "the prompt has been read"
        return tokens, self._decode(tokens)

    def generation_slice(self, steps: int) -> tuple[int, float]:
        parallel = self._work.parallel
        return steps * parallel, sum(self._decode(parallel) for _ in range(steps))

    def end_round(self) -> None:
        self._read = 0

    def generate_steps(self, steps: int) -> int:
        return steps * self._work.parallel

    def request(self) -> tuple[float, Sequence[float]]:
        work = self._work
        self._fault(f"tokens:{work.prompt_tokens}", "it refused a request")
        prompt = work.prompt_tokens * work.parallel
        sizes = [min(self._options.n_batch, prompt - at) for at in range(0, prompt, self._options.n_batch)]
        gaps = [self._decode(work.parallel) for _ in range(work.generate_tokens - 1)]
        return sum(map(self._decode, sizes)), gaps

    def _decode(self, tokens: int) -> float:
        """Return the seconds that decoding so many tokens takes."""
        self._decodes += 1
        faster = 1 + (self._script.flash_gain if self._options.flash_attn == "on" else 0)
        jitter = 1 + self._script.jitter * (self._decodes * 7919 % 101) / 101
        return self._script.token_seconds * tokens * jitter / faster * (1 + self._slowdown)

    def _fault(self, where: str, reason: str, kind: type[EngineError] = RequestFailedError) -> None:
        if self._script.fault == where:
            raise kind(f"{self._reference}: {reason}")

    def suspend(self) -> None: ...

    def resume(self) -> None: ...

    def log(self) -> str:
        return ""

    def close(self) -> None:
        self._alive = False

    # ── what it says ──────────────────────────────────────────────────────────────────────────────

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        return [(byte + self._script.token_shift) % 256 for byte in text.encode()]

    def token_ids(self, contents: Sequence[bytes]) -> list[list[int]]:
        return [[(byte + self._script.token_shift) % 256 for byte in content] for content in contents]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return bytes(token % 256 for token in tokens).decode(errors="replace")

    def render_chat(self, content: str) -> str:
        if self._script.no_template:
            raise NotCoveredError(f"{self._reference}: {self._script.no_template}")
        return f"{self._script.asker}: {content}\nassistant: "

    def open_stream(
        self, prompt: str | Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generator[Token, None, Completion]:
        given = self._prompt(prompt, max_tokens)
        tokens = [Token(each, self.detokenize([each])) for each in self._alphabet(len(given), max_tokens)]
        yield from tokens
        text, ids = "".join(each.text for each in tokens), tuple(each.id for each in tokens)
        return Completion(text, ids, "length", len(given))

    def greedy(self, prompt: str, count: int) -> Greedy:
        if self._script.no_generation:
            raise NotCoveredError(f"{self._reference}: {self._script.no_generation}")
        given = self._prompt(prompt, count)
        return self._follow(given[-1], len(given), count)

    def top_logprobs(self, prompt: str | Sequence[int], k: int = 20) -> list[Position]:
        tokens = self._prompt(prompt, 0)
        found, given = [], None
        for position, token in enumerate(tokens):
            logprobs = [float(each) for each in log_softmax(np.array(self._logits(token, position)))]
            best = sorted(range(_END + 1), key=lambda each: -logprobs[each])[:k]
            top = tuple(Likely(each, self.detokenize([each]), logprobs[each]) for each in best)
            found.append(Position(token, given, top))
            following = tokens[position + 1 : position + 2]
            given = logprobs[following[0]] if following else None
        return found

    def embeddings(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        return [self._embedding(each) for each in texts]

    def _embedding(self, tokens: Sequence[int]) -> list[float]:
        script, asked = self._script, self._options
        if script.broken:
            raise WrongOutputError(f"{self._reference}: NaN or infinite embeddings")
        angle = sum(tokens) % 7 + script.turn + 1e-4 * ((asked.flash_attn == "on") + asked.use_extra_bufts)
        return [cos(angle), sin(angle), 0.5]

    def write_logits(self, path: Path, passages: Sequence[Passage], generate: int) -> Greedy:
        self._fault("write", "it refused a passage")
        if self._script.no_generation:
            raise NotCoveredError(f"{self._reference}: {self._script.no_generation}")
        with path.open("wb") as out:
            for passage in passages:
                longest = len(passage.sequences[0])
                for at in range(longest):
                    alone = len(passage.sequences) == 1 and at >= min(longest - passage.singly, longest - 1)
                    for sequence in passage.sequences:
                        logits = self._logits(sequence[at], passage.start + at, alone=alone)
                        array("f", logits).tofile(out)
        first = passages[0]
        return self._follow(first.sequences[-1][-1], first.start + len(first.sequences[0]), generate)

    def write_copy(self, target: Path, file_type: int = 0) -> None:
        self._fault("quantize", "it can make no F32 copy of the model")
        shutil.copy(self.info.path, target)

    def _prompt(self, prompt: str | Sequence[int], room: int) -> list[int]:
        given = self.tokenize(prompt) if isinstance(prompt, str) else list(prompt)
        if not given:
            raise RequestFailedError(f"{self._reference}: the prompt is empty")
        if len(given) + room > self._options.n_ctx:
            raise RequestFailedError(
                f"{self._reference}: the prompt and its answer do not fit n_ctx: raise n_ctx"
            )
        return given

    def _alphabet(self, held: int, count: int) -> list[int]:
        """Return the letters that follow a context of so many tokens."""
        return [ord(self._script.first_letter) + (held + each) % 26 for each in range(count)]

    def _follow(self, last: int, held: int, count: int) -> Greedy:
        tokens = self._alphabet(held, count)
        leads = []
        for index, (token, before) in enumerate(zip(tokens, [last, *tokens], strict=False)):
            logits = self._logits(before, held + index - 1, alone=True)
            leads.append(logits[token] - max(each for other, each in enumerate(logits) if other != token))
        return Greedy(tuple(tokens), tuple(leads))

    def _logits(self, token: int, position: int, *, alone: bool = False) -> list[float]:
        """Round otherwise with other options, and coarsely if quantised."""
        script, asked = self._script, self._options
        ways = (asked.flash_attn == "on") + 2 * asked.n_ubatch + asked.use_extra_bufts + script.rounding
        ways += 3 * (asked.type_k == "f16")
        step = 1e-4 if self.info.path.endswith(".f32.gguf") else 1e-2
        logits = [*_rounded_logits(token, position, ways, step, script.logit_error)]
        if alone:
            logits[self._alphabet(position + 1, 1)[0]] = max(logits) + _LEAD
        if position == script.nan_at and self.info.path.endswith(script.nan_in):
            logits[0] = float("nan")
        return logits


@lru_cache(maxsize=10_000)
def _rounded_logits(token: int, position: int, ways: int, step: float, error: float) -> tuple[float, ...]:
    rounded = map(
        add, _likely((token * 31 + position * 17) % 97), _rounding((position * 3 + ways) % 11, step)
    )
    return tuple(map(add, rounded, _wrong(position % 7, error)))


@cache
def _likely(first: int) -> tuple[float, ...]:
    return tuple((first + each * each * 7) % 97 / 16 for each in range(_END + 1))


@cache
def _rounding(first: int, step: float) -> tuple[float, ...]:
    return tuple(step * ((each * 5 + first) % 11) for each in range(_END + 1))


@cache
def _wrong(first: int, error: float) -> tuple[float, ...]:
    return tuple(error * ((each * 13 + first) % 7) for each in range(_END + 1))
