"""Which program measures a commit: the worker where its library fits, else llama-bench, on both sides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llm import engines
from pytest_llm.builds.provider import Provider
from pytest_llm.builds.reference import parse_build
from pytest_llm.engines.llama_bench.engine import LlamaBench
from pytest_llm.engines.llama_cpp_python.engine import LlamaCppPython
from pytest_llm.errors import BuildError, EngineError
from pytest_llm.records import BuildReference, Commit, Installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.system.sandbox import Policy
    from tests.checkouts import Checkout

INSTALLED = parse_build("llama-cpp-python", Path.cwd())


@pytest.fixture
def provider(tmp_path: Path, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """Commits fit the installed binding from "fits" on."""

    def abi_mismatch(build: BuildReference, timeout: float, folder: str, policy: Policy | None) -> str:
        assert (Path(folder) / "libllama.so").exists()
        assert isinstance(build, Commit)
        return "" if build.commit == checkout.git("rev-parse", "fits") else "it has no llama_moon"

    monkeypatch.setattr(engines, "abi_mismatch", abi_mismatch)
    checkout.commit("sources: fit", {"llama.c": (checkout.path / "llama.c").read_text() + "\n"})
    checkout.git("tag", "fits")
    found = Provider(tmp_path / "cache", 60.0)
    yield found
    found.close()


def build_of(checkout: Checkout, ref: str) -> BuildReference:
    return parse_build(f"git:{ref}:{checkout.path}", Path.cwd())


def ignore(line: str) -> None:
    pass


def test_each_alone_is_measured_as_its_library_fits(provider: Provider, checkout: Checkout) -> None:
    fits, other = build_of(checkout, "fits"), build_of(checkout, "fits~1")

    assert isinstance(provider.engine(fits, ignore), LlamaCppPython)
    told: list[str] = []
    bench, _ = (provider.engine(other, told.append) for _ in range(2))

    assert isinstance(bench, LlamaBench)
    assert told[-1] == (
        f"only llama-bench measures {other}: it does not fit the installed llama-cpp-python: "
        "it has no llama_moon"
    )
    assert told.count(told[-1]) == 1
    tree = provider.tree(other, ignore)
    assert tree is not None
    with pytest.raises(EngineError, match=re.escape(f"{tree.binary / 'bin' / 'llama-bench'} ")):
        bench.describe()  # that of these sources is none


def test_two_that_fit_run_in_workers(provider: Provider, checkout: Checkout) -> None:
    fits = build_of(checkout, "fits")

    assert isinstance(provider.engine(fits, ignore, INSTALLED), LlamaCppPython)
    assert isinstance(provider.engine(INSTALLED, ignore, fits), LlamaCppPython)


def test_one_that_does_not_fit_has_both_measured_by_llama_bench(
    provider: Provider, checkout: Checkout
) -> None:
    fits, other = build_of(checkout, "fits"), build_of(checkout, "fits~1")

    assert isinstance(provider.engine(fits, ignore, other), LlamaBench)
    assert isinstance(provider.engine(other, ignore, fits), LlamaBench)


def test_beside_a_llama_bench_each_is_measured_by_its_own(provider: Provider, checkout: Checkout) -> None:
    bench = Installed(engines.LLAMA_BENCH)
    for ref in ("fits", "fits~1"):
        assert isinstance(provider.engine(build_of(checkout, ref), ignore, bench), LlamaBench)


def test_beside_a_build_without_llama_bench_it_is_one_line(provider: Provider, checkout: Checkout) -> None:
    other = build_of(checkout, "fits~1")
    for sides in ((other, INSTALLED), (INSTALLED, other)):
        with pytest.raises(BuildError) as caught:
            provider.engine(sides[0], ignore, sides[1])
        assert "the installed llama-cpp-python (it has no llama_moon)" in str(caught.value)
        assert "name both as git:REF:CHECKOUT" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_library_that_is_none_of_llama_cpp_does_not_fit_the_real_binding(
    tmp_path: Path, checkout: Checkout
) -> None:
    build = build_of(checkout, "HEAD")
    provider = Provider(tmp_path / "cache", 60.0)
    tree = provider.tree(build, ignore)
    assert tree is not None

    told = engines.abi_mismatch(build, 60.0, str(tree.binary / "bin"))

    provider.close()
    assert "undefined symbol: " in told or "has no " in told


def test_where_there_is_no_binding_the_reason_says_so(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path" / "llama_cpp.py").parent.mkdir()
    (tmp_path / "path" / "llama_cpp.py").write_text("raise ImportError('not here')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))

    assert "not here" in engines.abi_mismatch(build_of(checkout, "HEAD"), 60.0, str(tmp_path))


def test_a_failure_is_not_tried_again(provider: Provider, checkout: Checkout) -> None:
    checkout.commit("break", {"llama.c": "#error broken\n"})
    before = checkout.compiled()
    for _ in range(2):
        with pytest.raises(EngineError, match="could not be made"):
            provider.engine(build_of(checkout, "HEAD"), ignore)
    assert checkout.compiled() == before + 1
