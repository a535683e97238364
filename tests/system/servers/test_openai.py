"""Servers by URL: a real llama-server, llama-cpp-python's own, and what the official client reads."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from pytest_llm.engines import engine_for
from pytest_llm.records import Address, LoadOptions, Subject, Workload
from tests.system.faults.inner import measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_llm.records import Model
    from tests.system.servers.conftest import Start

WORKLOAD = Workload(prompt_tokens=64, generate_tokens=16)
PATIENCE = 60.0
SUITE = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=512)
@pytest.mark.llm_workload(prompt_tokens=64, generate_tokens=16)
@pytest.mark.llm_first_token_latency(max=60)
@pytest.mark.llm_inter_token_latency(max=30)
def test_chat(llm_bench):
    pass

@pytest.mark.llm_model("smollm2-135m", n_ctx=512)
@pytest.mark.llm_tokens_per_second(min=1)
def test_speed(llm_bench):
    pass
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def answering(command: list[str], url: str) -> Iterator[str]:
    """Run a server until the context ends; yield its URL once it lists its models."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, command
            assert time.monotonic() < deadline
            try:
                if httpx2.get(f"{url}/v1/models", trust_env=False).status_code == 200:
                    break
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["llama-server", "llama-cpp-python"])
def url(request: pytest.FixtureRequest, smollm2: Model, server_program: Path) -> Iterator[str]:
    port = free_port()
    if request.param == "llama-server":
        command = [
            str(server_program),
            "-m",
            smollm2.path,
            "-c",
            "2048",
            "-t",
            "1",
            "--offline",
            "--no-webui",
        ]
        command += ["--host", "127.0.0.1", "--port", str(port)]
    else:
        options = {"n_ctx": 1024, "n_threads": 1, "n_threads_batch": 1, "port": port, "host": "127.0.0.1"}
        options |= {"use_mlock": "false", "logits_all": "false"}
        command = [sys.executable, "-m", "llama_cpp.server", "--model", smollm2.path]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with answering(command, f"http://127.0.0.1:{port}") as found:
        yield found


def test_a_server_is_measured_by_requests(url: str, smollm2: Model) -> None:
    build = Address("openai", url)
    engine = engine_for(build, PATIENCE)
    loaded = engine.start(Subject(smollm2.name, build, LoadOptions()), smollm2)
    try:
        loaded.load()
        assert "Paris" in str(loaded.invariants()["greedy_text"])
        loaded.rehearse(WORKLOAD)
        for _ in range(3):
            first, gaps = loaded.request()
            assert len(gaps) == 15
            assert 0 < max(gaps) < first < 60
    finally:
        loaded.close()


def test_the_official_client_reads_the_same_answer(url: str, smollm2: Model) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    (model,) = client.models.list().data
    stream = client.completions.create(
        model=model.id, prompt="The capital of France is", max_tokens=12, temperature=0, seed=1, stream=True
    )
    theirs = "".join(each.choices[0].text for each in stream if each.choices)
    build = Address("openai", url)
    ours = engine_for(build, PATIENCE).start(Subject(smollm2.name, build, LoadOptions()), smollm2)
    try:
        ours.load()
        assert ours.invariants()["greedy_text"] == theirs
    finally:
        ours.close()


@pytest.mark.parametrize("url", ["llama-server"], indirect=True)
def test_the_whole_chain_measures_a_server_by_url(url: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_inner=SUITE)
    result, found = measure(pytester, f"--llm-candidate=openai@{url}", "--llm-uncovered=warn")
    result.assert_outcomes(passed=2)
    chat, speed = found["tests"]
    assert chat["metrics"]["first_token_latency"]["value"] > 0
    assert "servers by URL are asked for whole requests" in result.stdout.str()
    assert "generation_tokens_per_second" not in speed["metrics"]


def test_a_server_by_url_on_the_socket_s_sibling_agrees_with_the_engine(start: Start, smollm2: Model) -> None:
    server = start(on_port=True, n_ctx=1024)
    server.rehearse(WORKLOAD)
    build = Address("openai", server.url)
    other = engine_for(build, PATIENCE).start(Subject(smollm2.name, build, LoadOptions()), smollm2)
    try:
        other.load()
        other.rehearse(WORKLOAD)
        ratios = []
        for _ in range(7):
            ours, theirs = sum(server.request()[1]), sum(other.request()[1])
            ratios.append(theirs / ours)
        assert 0.7 < sorted(ratios)[3] < 1.4  # the same server through two interfaces
    finally:
        other.close()
