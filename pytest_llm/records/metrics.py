"""Every metric, defined once.

A metric is read from one *series* of a session: the numbers that a worker or a probe noted, in order. A
session's *sample* of a metric is a percentile of the series (the median unless the metric's name says
otherwise). A run's *value* is the median of the samples; if ``pooled`` is set, it is the same percentile over
all observations of all sessions. Sample and value of a ``rate`` are all tokens divided by all seconds.

To add a metric whose series exists, add one ``Metric`` to ``METRICS``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from pytest_llm.errors import UsageError
from pytest_llm.records.metric import Metric
from pytest_llm.records.units import BYTES, COUNT, INSTRUCTIONS, JOULES, RATIO, SECONDS, TOKENS_PER_SECOND
from pytest_llm.system.registry import Registry
from pytest_llm.system.text import as_written

# A fifth of it is called; one build differs from itself by a little less in A/A: docs/memory.md#tolerances.
_OF_RAM = 0.03

# The series of workloads that embed.
EMBEDDING = "embedding"
EMBEDDING_SPEED = "embedding_tokens_per_second"
# The series that an option asks for.
COUNTED_INSTRUCTIONS = "instructions_per_token"
# The series of servers that draft tokens.
DRAFT_ACCEPTANCE = "draft_acceptance"
# The series with the share of all processors that other processes used during a session; no metric.
OTHER_LOAD = "other_load"
# The series of memory over time, of the first session: seconds since the load began, bytes at those moments,
# and the seconds at which the load ended, the request began, and its generation began. No metric.
MEMORY_SECONDS, MEMORY_BYTES, MEMORY_PHASES = "memory_seconds", "memory_bytes", "memory_phases"
VRAM_SECONDS, VRAM_BYTES = "vram_seconds", "vram_bytes"
OVER_TIME = (MEMORY_SECONDS, MEMORY_BYTES, MEMORY_PHASES, VRAM_SECONDS, VRAM_BYTES)
# The series of whole requests.
OF_REQUESTS = ("request", "first_token", "inter_token")

_LLAMA_BENCH = "llama-bench of llama.cpp, tools/llama-bench: test_prompt and test_gen"
_NVIDIA = "NVIDIA NIM for LLMs, benchmarking guide: metrics (TTFT, ITL)"
_NVML = "NVIDIA, NVML API reference: nvmlProcessInfo_t, nvmlMemory_t, nvmlDeviceGetTotalEnergyConsumption"
_GRAPH = "llama.cpp, llama_context::sched_reserve: the graphs of a prompt (pp) and of a token (tg)"
_PROC = "Linux, Documentation/filesystems/proc.rst: VmHWM, RssAnon, RssFile"

_FIRST_TOKEN = Metric(
    "first_token_latency",
    "first-token latency",
    SECONDS,
    "lower",
    "first_token",
    "From a request's text to its first sampled token: chat template (where the model has one that "
    "llama.cpp renders), tokenisation, prefill of the whole prompt on top of the workload's depth, "
    "sampling. With parallel sequences, until every one has its first token; of a server, of each request.",
    _NVIDIA,
    pooled=True,
)
_INTER_TOKEN = Metric(
    "inter_token_latency",
    "inter-token latency",
    SECONDS,
    "lower",
    "inter_token",
    "The time between two neighbouring tokens of a request: decode, synchronize, sample. With parallel "
    "sequences, between two neighbouring steps of the batch; of a server, of each request.",
    _NVIDIA,
    pooled=True,
)


def _at(family: Metric, percentile: float) -> Metric:
    return replace(
        family,
        name=f"{family.name}_p{percentile:g}",
        title=f"{family.title} p{percentile:g}",
        percentile=percentile,
    )


def _count(name: str, title: str, definition: str, source: str, *, higher: bool = False) -> Metric:
    better: Literal["higher", "lower"] = "higher" if higher else "lower"
    return Metric(name, title, COUNT, better, name, definition, source, tolerance=0.0, exact=True)


_DECLARED = (
    Metric(
        "prompt_tokens_per_second",
        "prompt speed",
        TOKENS_PER_SECOND,
        "higher",
        "prompt",
        "Tokens of whole fresh prompts on top of the workload's depth, decoded ubatch by ubatch, divided by "
        "the time of these decodes and synchronizes.",
        _LLAMA_BENCH,
        rate=True,
    ),
    Metric(
        "generation_tokens_per_second",
        "generation speed",
        TOKENS_PER_SECOND,
        "higher",
        "generation",
        "Tokens decoded one at a time (one for each parallel sequence) behind the prompt, from the second to "
        "the last of a request, divided by the time of these decodes and synchronizes; sampling is left out.",
        _LLAMA_BENCH,
        rate=True,
    ),
    Metric(
        EMBEDDING_SPEED,
        "embedding speed",
        TOKENS_PER_SECOND,
        "higher",
        EMBEDDING,
        "Tokens of fresh texts (one for each parallel sequence), divided by the time of encode (decode, of "
        "models that generate as well) and synchronize; as many whole texts as fit into an ubatch are "
        "embedded together. Tokenization is left out.",
        "llama-bench of llama.cpp: -embd 1",
        rate=True,
    ),
    Metric(
        "total_tokens_per_second",
        "total speed",
        TOKENS_PER_SECOND,
        "higher",
        "request",
        "Prompt and generated tokens of whole requests, divided by the time from the text to the last token.",
        "llama-bench of llama.cpp: -pg, with tokenisation and sampling added",
        rate=True,
    ),
    _FIRST_TOKEN,
    _at(_INTER_TOKEN, 50),
    _at(_INTER_TOKEN, 90),
    _at(_INTER_TOKEN, 99),
    Metric(
        "load_time",
        "load time",
        SECONDS,
        "lower",
        "load",
        "From the call that loads the file to a context ready to decode, in a fresh process, with the file "
        "in the page cache; importing the engine is left out.",
        "llama_perf_context of llama.cpp: t_load_ms, with the context added",
    ),
    Metric(
        "peak_vram",
        "peak VRAM",
        BYTES,
        "lower",
        "peak_vram",
        "The largest total memory on all GPUs over load and one whole request, sampled every 20 ms: of the "
        "worker and its children, including the backend's context, if the driver counts it per process; "
        "otherwise the increase of the devices' used memory since before the load. Without a driver library: "
        "the decrease of the free memory that ggml reports, or the sum of llama.cpp's device buffers.",
        _NVML,
        once=True,
    ),
    Metric(
        "energy_per_token",
        "energy per token",
        JOULES,
        "lower",
        "energy_per_token",
        "Energy that the worker's GPUs used over whole requests, including other processes, divided by the "
        "tokens of their prompts and answers; the first request of a process does not count.",
        _NVML,
        once=True,
    ),
    Metric(
        "peak_ram",
        "peak RAM",
        BYTES,
        "lower",
        "peak_ram",
        "The largest resident set of the worker over load and one whole request, file-backed pages included.",
        _PROC,
        tolerance=_OF_RAM,
    ),
    Metric(
        "peak_ram_anonymous",
        "peak anonymous RAM",
        BYTES,
        "lower",
        "peak_ram_anonymous",
        "The largest anonymous part of the worker's resident set over load and one whole request, sampled "
        "every 20 ms; mapped weights are not part of it.",
        _PROC,
        tolerance=_OF_RAM,
    ),
    Metric(
        "peak_ram_file",
        "peak file-backed RAM",
        BYTES,
        "lower",
        "peak_ram_file",
        "The largest file-backed part of the worker's resident set over load and one whole request, sampled "
        "every 20 ms: mapped weights, and the programs themselves.",
        _PROC,
        tolerance=_OF_RAM,
    ),
    Metric(
        "leaked_bytes_per_token",
        "memory leaked per token",
        BYTES,
        "lower",
        "anonymous_memory",
        "The slope of anonymous and device memory over generated tokens, in a context that returns to the "
        "same depth again and again, so that the KV cache does not grow: the median of the slopes between "
        "all pairs of readings.",
        "Sen (1968), Journal of the American Statistical Association 63(324), 1379-1389",
        slope=True,
        once=True,
    ),
    _count(
        "graph_splits",
        "graph splits",
        "Parts of the compute graph of one token, planned when the model is loaded; each runs on one backend "
        "after its inputs were copied from others.",
        _GRAPH,
    ),
    _count(
        "graph_splits_prompt",
        "graph splits of a prompt",
        "The same of the compute graph of one ubatch of prompt.",
        _GRAPH,
    ),
    _count(
        "graph_nodes",
        "graph nodes",
        "Operations of the compute graph of one token, planned when the model is loaded.",
        _GRAPH,
    ),
    _count(
        "graph_nodes_prompt",
        "graph nodes of a prompt",
        "Operations of the compute graph of one ubatch of prompt, planned when the model is loaded.",
        _GRAPH,
    ),
    _count(
        "graphs_reused",
        "graphs reused",
        "Decodes of the first whole request of a process that used the compute graph of the one before.",
        "llama_perf_context of llama.cpp: n_reused",
        higher=True,
    ),
    _count(
        "kv_cells",
        "KV cells",
        "Cells of all KV caches, each for one token of one stream, made when the model is loaded.",
        "llama.cpp, llama_kv_cache: kv_size and n_stream",
    ),
    Metric(
        DRAFT_ACCEPTANCE,
        "draft acceptance",
        RATIO,
        "higher",
        DRAFT_ACCEPTANCE,
        "Of a server that decodes speculatively: the drafted tokens that the model accepted, divided by all "
        "that were drafted, in one greedy answer after the beginning of a fixed text.",
        "llama-server of llama.cpp: timings.draft_n and draft_n_accepted",
        tolerance=0.02,
        exact=True,
    ),
    Metric(
        COUNTED_INSTRUCTIONS,
        "instructions per token",
        INSTRUCTIONS,
        "lower",
        COUNTED_INSTRUCTIONS,
        "With `--llm-instructions`: instructions in user space for decoding one token of one sequence on one "
        "thread, counted once a campaign: by a hardware counter, after the workload's prompt at its depth; "
        "or under valgrind, in an empty context.",
        "Linux, perf_event_open(2): PERF_COUNT_HW_INSTRUCTIONS; valgrind, callgrind: Ir",
        tolerance=0.005,
        exact=True,
    ),
)

METRICS: Registry[Metric] = Registry("metric", {metric.name: metric for metric in _DECLARED})
_FAMILIES = {family.name: family for family in (_FIRST_TOKEN, _INTER_TOKEN)}
_PERCENTILE_NAME = re.compile(r"(?P<family>\w+)_p(?P<percentile>\d+(?:\.\d+)?)")


def find(name: str) -> Metric:
    """Return the metric of that name, percentiles such as ``first_token_latency_p95`` included.

    Raises:
        UnknownNameError: No metric has that name.
    """
    match = _PERCENTILE_NAME.fullmatch(name)
    if match and match["family"] in _FAMILIES:
        return at_percentile(match["family"], float(match["percentile"]))
    return METRICS.find(name)


def at_percentile(family: str, percentile: float) -> Metric:
    """Return a latency metric at a percentile over all its observations of a run.

    Args:
        family: "first_token_latency" or "inter_token_latency".
        percentile: Above 0 and below 100.

    Raises:
        UsageError: The percentile is not a number in that range.
    """
    if isinstance(percentile, bool) or not isinstance(percentile, (int, float)):
        raise UsageError(f"percentile {as_written(percentile)} is not a number; write percentile=95, say")
    if not 0 < percentile < 100:
        raise UsageError(
            f"percentile {as_written(percentile)} is not above 0 and below 100; write percentile=95, say"
        )
    base = _FAMILIES[family]
    if percentile == base.percentile and family in METRICS:
        return METRICS[family]
    found = _at(base, percentile)
    return METRICS.get(found.name, found)
