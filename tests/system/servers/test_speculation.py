"""Speculative decoding on a real llama-server: how much is accepted, and how fast that is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llm.builds.reference import parse_build
from pytest_llm.engines.llama_server.engine import LlamaServer
from pytest_llm.records import LoadOptions, Subject, Workload
from tests.system.faults.inner import measure

if TYPE_CHECKING:
    import pytest

    from pytest_llm.records import Model
    from tests.system.servers.conftest import Start

WORKLOAD = Workload(prompt_tokens=64, generate_tokens=32)
SUITE = """
import pytest

@pytest.mark.llm_model("smollm2-135m", n_ctx=512, n_threads=1, draft_model="smollm2-135m")
@pytest.mark.llm_workload(prompt_tokens=64, generate_tokens=32)
@pytest.mark.llm_tokens_per_second(min=1)
def test_speculative(llm_bench):
    pass
"""


def test_a_model_that_drafts_for_itself_is_always_right_and_never_faster(start: Start) -> None:
    plain = start()
    assert plain.continues
    plain.rehearse(WORKLOAD)
    assert "draft_acceptance" not in plain.counts()
    alone = plain.generation_slice(31)[1]
    plain.close()
    drafting = start(draft="own")
    drafting.rehearse(WORKLOAD)
    assert not drafting.continues
    (acceptance,) = drafting.counts()["draft_acceptance"].values
    assert 0.9 < acceptance <= 1
    assert drafting.prompt_slice(64)[0] == 64
    tokens, seconds = drafting.generation_slice(31)
    assert tokens == 31
    drafting.end_round()
    assert 1 < seconds / alone < 4  # two passes of one model for each token, but not for those of a batch
    _, gaps = drafting.request()
    assert len(gaps) == 31
    assert sum(each > max(gaps) / 10 for each in gaps) < 31  # several tokens came at once


def test_the_draft_model_s_sizes_are_not_the_model_s(start: Start) -> None:
    options = start(draft="own", n_ctx=300).effective_options()
    assert options["n_ctx"] == 512
    assert options["layers_offloaded"] == "0/31"
    assert options["draft_model"] != ""


def test_the_whole_chain_tells_acceptance(pytester: pytest.Pytester, server_program: Path) -> None:
    pytester.makepyfile(test_inner=SUITE)
    result, found = measure(pytester, f"--llm-candidate=llama-server@bin:{server_program}")
    result.assert_outcomes(passed=1)
    metrics = found["tests"][0]["metrics"]
    assert 0.9 < metrics["draft_acceptance"]["value"] <= 1
    assert metrics["generation_tokens_per_second"]["value"] > 1
    assert found["tests"][0]["model"]["draft"]["name"] == "smollm2-135m"
    result.stdout.fnmatch_lines(["*draft acceptance*%*"])


def test_the_binding_drafts_nothing_and_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_inner=SUITE)
    result, _ = measure(pytester, "--llm-uncovered=warn")
    result.stdout.fnmatch_lines(["*drafts no tokens, so draft_model=smollm2-135m has no effect*"])
    assert result.ret == 0


def test_a_command_line_that_drafts_is_seen_to(smollm2: Model, server_program: Path) -> None:
    words = f"{server_program} -c 512 -np 1 -t 1 -tb 1 --cache-ram 0 -lv 4 -md {smollm2.path}"
    for more, drafts in (("", False), (" --spec-type draft-simple", True)):
        build = parse_build(f"llama-server@cmd:{words}{more}", Path.cwd())
        loaded = LlamaServer(build, 60.0).start(Subject(smollm2.name, build, LoadOptions()), smollm2)
        with closing(loaded):
            loaded.load()
            loaded.rehearse(WORKLOAD)
            assert ("draft_acceptance" in loaded.counts()) is drafts
            assert loaded.continues is not drafts
