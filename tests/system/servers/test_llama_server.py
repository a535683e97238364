"""llama-server is measured slice by slice on a real one, and every count is checked."""

from __future__ import annotations

import math
import os
import sys
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_llm.errors import LoadRefusedError, RequestFailedError
from pytest_llm.machine.memory.rss import ProcessMemory
from pytest_llm.records import LoadOptions, Workload
from tests.file_server import serving_files
from tests.system.faults.inner import measure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.servers.conftest import Start

WORKLOAD = Workload(prompt_tokens=32, generate_tokens=8)
SUITE = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1)
@pytest.mark.llm_workload(prompt_tokens=32, generate_tokens=8)
@pytest.mark.llm_tokens_per_second(min=1)
@pytest.mark.llm_first_token_latency(max=60)
@pytest.mark.llm_ram(max="2 GiB")
def test_chat(llm_bench):
    pass
"""

WAYS = [
    pytest.param({"on_port": False}, id="socket"),
    pytest.param({"on_port": True}, id="port"),
    pytest.param({"mode": "off"}, id="not locked in"),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_server_is_measured_and_ends_with_what_it_started(way: dict[str, object], start: Start) -> None:
    server = start(**way, load=False)  # type: ignore[arg-type]
    with ProcessMemory().watch(server.pid) as memory:
        assert 0 < server.load() < 60
    assert memory["peak_ram"].values[0] > 50e6
    assert server.build.llama_cpp_commit == "0c1e57098"
    assert 0 < server.rehearse(WORKLOAD) < 10
    taken = [server.prompt_slice(32), server.generation_slice(3), server.generation_slice(4)]
    server.end_round()
    assert [tokens for tokens, _ in taken] == [32, 3, 4]
    assert all(0 < seconds < 60 for _, seconds in taken)
    first, gaps = server.request()
    assert len(gaps) == 7
    assert first > max(gaps)
    process = psutil.Process(server.pid)
    server.close()
    assert not process.is_running()


def test_what_a_server_really_has_is_read_from_it(start: Start) -> None:
    server = start(n_ctx=300, flash_attn="off", type_k="f16")
    options = server.effective_options()
    shown = {name: options[name] for name in ("n_ctx", "n_seq_max", "n_threads", "flash_attn", "type_k")}
    assert shown == {"n_ctx": 512, "n_seq_max": 1, "n_threads": 1, "flash_attn": "off", "type_k": "f16"}
    assert set(LoadOptions.__dataclass_fields__) <= options.keys()
    invariants = server.invariants()
    assert len(invariants["greedy_output"]) == len(invariants["greedy_leads"]) == 12  # type: ignore[arg-type]


def test_a_depth_stays_in_the_cache_from_round_to_round(start: Start) -> None:
    server = start(n_ctx=1024)
    deep = Workload(prompt_tokens=16, generate_tokens=8, depth=512)
    server.rehearse(deep)
    times = []
    for _ in range(3):
        times.append(server.prompt_slice(16)[1])
        server.generation_slice(2)
        server.end_round()
    read = math.fsum(times) / len(times)
    server.rehearse(Workload(prompt_tokens=512, generate_tokens=2))
    assert read < server.prompt_slice(512)[1] / 3  # had it read the depth again, it would be above


def test_a_server_that_is_killed_says_so_with_its_last_lines(start: Start) -> None:
    server = start()
    server.rehearse(WORKLOAD)
    psutil.Process(server.pid).kill()
    with pytest.raises(Exception, match=r"the server ended while decoding a prompt: .*SIGKILL") as caught:
        server.prompt_slice(32)
    assert caught.value.log  # type: ignore[attr-defined]


def test_a_prompt_beyond_the_context_is_refused_in_the_server_s_words(start: Start) -> None:
    server = start(n_ctx=256)
    with pytest.raises(RequestFailedError, match="exceed"):
        server.rehearse(Workload(prompt_tokens=400, generate_tokens=2))


def test_a_cache_that_a_server_refuses_is_told_with_its_log(start: Start) -> None:
    server = start(n_ctx=512, type_v="q4_0", flash_attn="off", load=False)
    with pytest.raises(LoadRefusedError) as caught:
        server.load()
    assert any("V cache" in line or "flash" in line for line in caught.value.log)


def test_parallel_requests_are_sent_at_once_and_each_is_timed(start: Start) -> None:
    server = start(n_ctx=1024, n_seq_max=4)
    parallel = Workload(prompt_tokens=32, generate_tokens=8, parallel=4)
    assert server.coverage(parallel).under_load
    server.rehearse(parallel)
    found = server.requests_at_once()
    assert [len(gaps) for _, gaps in found] == [7] * 4
    server.rehearse(WORKLOAD)
    alone = sum(server.request()[1])
    assert min(sum(gaps) for _, gaps in found) > alone  # they shared one thread


def test_the_whole_chain_measures_the_server_of_a_release(
    pytester: pytest.Pytester, server_program: Path
) -> None:
    pytester.makepyfile(test_inner=SUITE)
    result, found = measure(pytester, f"--llm-candidate=llama-server@bin:{server_program}")
    result.assert_outcomes(passed=1)
    metrics = found["tests"][0]["metrics"]
    wanted = {"prompt_tokens_per_second", "generation_tokens_per_second", "first_token_latency", "peak_ram"}
    assert wanted <= metrics.keys()


def archive_of(program: Path, target: Path, also: str = "") -> None:
    with tarfile.open(target, "w:gz") as archive:
        for each in sorted(program.parent.iterdir()):
            archive.add(each, f"llama-b1001/{each.name}")
        if also:
            archive.add(program, f"llama-b1001/{also}")


def test_a_prebuilt_archive_gates_a_change_without_a_compiler(
    pytester: pytest.Pytester, server_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_inner=SUITE)
    with serving_files() as server:
        url = f"{server.url}/{{tag}}/llama-{{tag}}-bin-{{platform}}.tar.gz"
        pytester.makeini(f"[pytest]\nllm_archive_url = {url}\nllm_cache = {tmp_path / 'cache'}\n")
        platform = "ubuntu-x64" if os.uname().machine == "x86_64" else "ubuntu-arm64"
        page = f"/b1001/llama-b1001-bin-{platform}.tar.gz"
        archive_of(server_program, tmp_path / "first")
        server.files[page] = (tmp_path / "first").read_bytes()
        server.cut = [1_000_000, 2_000_000]  # the connection breaks twice
        result, found = measure(pytester, "--llm-candidate=llama-server@b1001")
        result.assert_outcomes(passed=1)
        assert found["candidate"]["llama_cpp_commit"] == "0c1e57098"
        assert len(server.asked) == 3
        locked = (pytester.path / "pytest-llm.lock").read_text(encoding="utf-8")
        assert page in locked

        archive_of(server_program, tmp_path / "second", also="more")
        server.files[page] = (tmp_path / "second").read_bytes()
        monkeypatch.setenv("PYTEST_LLM_CACHE", str(tmp_path / "other"))
        pytester.makeini(f"[pytest]\nllm_archive_url = {url}\nllm_cache = {tmp_path / 'other'}\n")
        result = pytester.runpytest_subprocess("--llm-bench", "--llm-candidate=llama-server@b1001")
        assert result.ret != 0
        assert "has changed: its SHA-256 is" in result.stdout.str()


def test_a_changed_flag_of_a_command_line_is_told_as_drift(
    pytester: pytest.Pytester, server_program: Path
) -> None:
    pytester.makepyfile(test_inner=SUITE)
    base = f"llama-server@cmd:{server_program} -c 512 -np 1 -t 1 -tb 1 --cache-ram 0 -lv 4"
    result, _ = measure(
        pytester, f"--llm-candidate={base} -ctk q8_0", f"--llm-against={base}", "--llm-time-limit=5 min"
    )
    said = result.stdout.str()
    assert "type_k" in said
    assert "drift" in said
    result.assert_outcomes(failed=1)


def test_a_command_line_that_names_another_model_is_refused(
    pytester: pytest.Pytester, server_program: Path
) -> None:
    pytester.makepyfile(test_inner=SUITE)
    result = pytester.runpytest_subprocess(
        "--llm-bench", f"--llm-candidate=llama-server@cmd:{server_program} -m {sys.executable}"
    )
    assert result.ret != 0
    assert "its command line names the model" in result.stdout.str()


def test_the_store_has_the_program_and_nothing_that_only_compiling_needs(server_program: Path) -> None:
    folder = server_program.parent.parent.parent
    size = sum(each.lstat().st_size for each in folder.rglob("*"))
    assert size < 200e6
    with closing(server_program.open("rb")) as file:
        assert file.read(4) == b"\x7fELF"
