"""Where a token's time goes in a server: llama-server beside llama-cpp-python, and through OpenAI's API.

    uv run python -m benchmarks.server_agreement --server llama-server@bin:PROGRAM

One process of each way is loaded. In turns, in an order drawn anew, each generates a request's tokens behind
a fresh prompt; the others are stopped. Printed are milliseconds a token, and the median ratio of generation
speed to that of whole requests of llama-cpp-python (which sample as a server does), with its interval. The
goal on one thread: the server is within 3 % of 1.
"""

from __future__ import annotations

import argparse
import math
import os
import random
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.order_statistics import median_interval
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines import engine_for
from pytest_llm.engines.llama_server.engine import LlamaServer
from pytest_llm.measure.rounds import awake
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import Address, LoadOptions, Subject, Workload
from pytest_llm.system.folders import default_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_llm.records.protocols import Loaded

WORKLOAD = Workload(128, 64)
OURS = "llama-cpp-python, whole requests"


def of_request(loaded: Loaded) -> float:
    """Return the seconds a token of a request, from its first token to its last."""
    _, gaps = loaded.request()
    return math.fsum(gaps) / len(gaps)


def of_slices(loaded: Loaded) -> float:
    """Return the seconds a token of one slice behind a prompt."""
    loaded.prompt_slice(WORKLOAD.prompt_tokens)
    tokens, seconds = loaded.generation_slice(WORKLOAD.generate_tokens - 1)
    loaded.end_round()
    return seconds / tokens


def table(seconds: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the figures, in Markdown."""
    lines = [
        "| way | ms a token | generation speed ÷ that of llama-cpp-python's requests |",
        "| --- | --- | --- |",
    ]
    for way, found in seconds.items():
        ratios = [math.log(ours / each) for ours, each in zip(seconds[OURS], found, strict=True)]
        middle, low, high = (math.exp(each) for each in median_interval(ratios))
        lines.append(f"| {way} | {1e3 * median(found):.2f} | {middle:.3f} ({low:.3f} … {high:.3f}) |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", default="llama-server", help="a build")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alternations", type=int, default=60)
    given = parser.parse_args()
    cache = default_cache(os.environ)
    model = ModelStore(cache, builtin_entries(), Path.cwd()).resolve("smollm2-135m")
    options = LoadOptions(n_ctx=512, n_threads=given.threads, n_threads_batch=given.threads)
    with closing(Provider(cache, ANSWER_SECONDS)) as provider, ExitStack() as stack:

        def loaded(text: str, *, on_port: bool = False) -> Loaded:
            build = parse_build(text, Path.cwd())
            engine = provider.engine(build, print)
            if isinstance(engine, LlamaServer):
                engine.on_port = on_port
            found = stack.enter_context(closing(engine.start(Subject(model.name, build, options), model)))
            found.load()
            found.rehearse(WORKLOAD)
            found.suspend()
            return found

        ours, socket, port = (
            loaded("llama-cpp-python"),
            loaded(given.server),
            loaded(given.server, on_port=True),
        )
        build = Address("openai", port.url)  # type: ignore[attr-defined]
        by_url = engine_for(build, ANSWER_SECONDS).start(Subject(model.name, build, options), model)
        stack.enter_context(closing(by_url))
        with awake(port):
            by_url.load()
            by_url.rehearse(WORKLOAD)
        # What is stopped while others work, what is asked, and how.
        ways: Mapping[str, tuple[Loaded, Loaded, Callable[[Loaded], float]]] = {
            OURS: (ours, ours, of_request),
            "llama-cpp-python, slices": (ours, ours, of_slices),
            "llama-server, slices, Unix socket": (socket, socket, of_slices),
            "llama-server, requests, Unix socket": (socket, socket, of_request),
            "llama-server, slices, port": (port, port, of_slices),
            "llama-server, requests through OpenAI's API, port": (port, by_url, of_request),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(given.alternations):
            for way in random.sample([*ways], len(ways)):
                process, asked, ask = ways[way]
                with awake(process):
                    seconds[way].append(ask(asked))
    print("\n".join(table(seconds)))


if __name__ == "__main__":
    main()
