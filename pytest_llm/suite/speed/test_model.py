"""What is not a speed: a load from disk, the largest context, and whether the model talks sense at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import CPUFallbackError, EngineError, LoadRefusedError, NotCoveredError
from pytest_llm.machine.fingerprint import available_bytes
from pytest_llm.models.footprint import predict
from pytest_llm.plugin.messages import message
from pytest_llm.stats.repetition import loops
from pytest_llm.suite.candidate import broken, not_covered
from pytest_llm.suite.speed.page_cache import drop, resident_share

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.speed.conftest import Loads

pytestmark = [pytest.mark.llm_quick, pytest.mark.llm_model(n_ctx=1024)]

_COLD_LOADS = 3
_STILL_THERE = 0.1
_LEAST_CONTEXT = 512
_PROMPT = "The river rises in the hills behind the town and"
_ANSWER_TOKENS = 32
_MIB = 2**20


def test_load_from_disk(loads: Loads, note: Callable[[str], None]) -> None:
    """The file is dropped from the page cache before each load, and that is looked after."""
    seconds = []
    for _ in range(_COLD_LOADS):
        for each in loads.model.opened:
            drop(each.descriptor)
        share = resident_share(loads.model.opened[0].descriptor)
        if share is None:
            not_covered("load time from disk: this system does not tell what is in its page cache")
        if share > _STILL_THERE:
            not_covered(
                f"load time from disk: {share:.0%} of the file stays in the page cache, where another "
                "process maps it"
            )
        with loads.started() as loaded:
            seconds.append(loaded.load())
            loads.check(loaded, "load time from disk")
    note(f"load from disk: {sorted(seconds)[1]:.2f} s (median of {_COLD_LOADS})")


def test_largest_context(loads: Loads, note: Callable[[str], None]) -> None:
    """The largest power of two that the model was trained for and that memory holds."""
    n_ctx = _LEAST_CONTEXT
    while 2 * n_ctx <= loads.model.context_length:
        n_ctx *= 2
    while n_ctx > _LEAST_CONTEXT and not _may_fit(loads, n_ctx):
        n_ctx //= 2
    while True:
        try:
            with loads.started(n_ctx=n_ctx) as loaded:
                loaded.load()
                loads.check(loaded, "largest context")
            break
        except (LoadRefusedError, CPUFallbackError) as error:
            if n_ctx <= _LEAST_CONTEXT:
                broken(message(error))
            n_ctx //= 2
    cache = predict(loads.header, loads.options(n_ctx=n_ctx), on_device=False).kv
    size = f", a KV cache of {cache.host / _MIB:.0f} MiB" if cache is not None else ""
    note(f"largest context: {n_ctx} of {loads.model.context_length} tokens{size}")


def _may_fit(loads: Loads, n_ctx: int) -> bool:
    found = predict(loads.header, loads.options(n_ctx=n_ctx), on_device=False)
    held = sum(each.host for each in (found.weights, found.kv) if each is not None)
    return held < available_bytes()


def test_output_makes_sense(loads: Loads, note: Callable[[str], None]) -> None:
    """Not that it is right: that it is no rubbish. Another build's output is compared by ``llm_output``."""
    try:
        with loads.generating() as model:
            model.load()
            answer = model.generate(_PROMPT, max_tokens=_ANSWER_TOKENS)
    except NotCoveredError as error:
        not_covered(message(error))
    except EngineError as error:
        broken(message(error), error.log)
    if not answer.text.strip() or not any(each.isalpha() for each in answer.text):
        broken(f"the model goes on with {answer.text!r} after {_PROMPT!r}")
    if len(set(answer.tokens)) < 4 or (loops(answer.tokens) and len(set(answer.tokens)) < 8):
        broken(f"the model repeats itself: it goes on with {answer.text!r} after {_PROMPT!r}")
    note(f"it goes on: {_PROMPT}{answer.text.partition(chr(10))[0]}")
