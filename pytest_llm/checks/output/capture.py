"""Capture: what a build generates and holds likely on a prompt plan."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.checks.output.corpus import CHAT, TORTURE, escaped
from pytest_llm.checks.output.prompts import digest
from pytest_llm.errors import NotCoveredError, RequestFailedError
from pytest_llm.records import OutputSnapshot, Run
from pytest_llm.records.generation import Greedy
from pytest_llm.stats.divergence import divergence, not_finite, read_logits
from pytest_llm.stats.repetition import loops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_llm.checks.output.prompts import PromptPlan
    from pytest_llm.records import JSON, Build, Divergence, Workload
    from pytest_llm.records.generation import GGUFModel
    from pytest_llm.records.side import Side

_LEAD_DIGITS = 3


class Capture(NamedTuple):
    """The output of a subject.

    Attributes:
        snapshot: All of it but the logits; nothing is sampled yet.
        build: As it describes itself.
        effective_options: As loaded.
        logits: The file that holds the logits of every position.
    """

    snapshot: OutputSnapshot
    build: Build
    effective_options: Mapping[str, JSON]
    logits: Path

    def run(self, side: Side, workload: Workload) -> Run:
        """Return the subject's run, without sessions."""
        return Run(side.subject, workload, side.model, self.build, self.effective_options, (), {})


class CaptureSession(NamedTuple):
    """Captures several subjects on one plan.

    Attributes:
        plan: What each of them decodes.
        folder: For the files of logits; one that is there is overwritten.
        on_progress: Called with what is captured, before each capture.
    """

    plan: PromptPlan
    folder: Path
    on_progress: Callable[[str], None]

    def capture(self, side: Side, name: str, what: str) -> Capture:
        """Capture the output of a subject in a fresh process.

        Args:
            side: The subject.
            name: Of the file of logits.
            what: For ``on_progress``.

        Raises:
            EngineError: The subject cannot be loaded, or refuses.
        """
        self.on_progress(f"output of the {what}")
        plan, path = self.plan, self.folder / name
        with closing(side.engine.start_generation(side.subject, side.model)) as loaded:
            loaded.load()
            text = text_output(loaded)
            greedy = loaded.write_logits(path, plan.passages, plan.generate)
            build, options = loaded.build, loaded.effective_options()
        broken = not_finite(read_logits(path, plan.positions()))
        leads = () if broken else tuple(round(each, _LEAD_DIGITS) for each in greedy.leads)
        snapshot = OutputSnapshot(
            corpus=plan.corpus,
            compiled_with=build.compiled_with,
            positions=plan.positions(),
            not_finite=broken,
            prompts=plan.digest(),
            token_ids=text.token_ids,
            template=text.template,
            greedy=Greedy(tuple(greedy.tokens), leads),
            loops=loops(greedy.tokens),
            not_covered="; ".join(filter(None, (plan.not_covered(), text.not_covered))),
        )
        return Capture(snapshot, build, options, path)

    def divergence(self, one: Capture, other: Capture, top_k: int) -> Divergence:
        """Return how far the logits of another capture are from those of one, both finite."""
        ours, theirs = (read_logits(each.logits, self.plan.positions()) for each in (one, other))
        return divergence(ours, theirs, self.plan.following(), top_k)


class TextOutput(NamedTuple):
    """Token ids and rendered chat that a build makes with a model.

    Attributes:
        token_ids: Digests of the token ids of difficult texts; none without a tokenizer.
        template: The rendered chat.
        not_covered: Why the chat is not rendered; "" if it is, or there is no template.
    """

    token_ids: dict[str, str]
    template: str
    not_covered: str = ""


def text_output(loaded: GGUFModel) -> TextOutput:
    """Return what a model makes of texts."""
    try:
        texts = [each for each in TORTURE if loaded.takes_bytes or _is_utf8(each)]
        ids = dict(zip(map(escaped, texts), map(digest, loaded.token_ids(texts)), strict=True))
    except RequestFailedError:
        return TextOutput({}, "")  # no tokenizer
    try:
        return TextOutput(ids, loaded.render_chat(CHAT))
    except NotCoveredError as error:
        return TextOutput(ids, "", str(error))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
