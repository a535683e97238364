"""One worker serves every release: it asks for names, newest first."""

from __future__ import annotations

import ast
import ctypes
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pytest_llm
from pytest_llm.engines.llama_cpp_python.worker.bindings import Bindings, LackingError, UnusableError
from pytest_llm.engines.llama_cpp_python.worker.names import NEEDS

WORKER = Path(pytest_llm.__file__).parent / "engines" / "llama_cpp_python" / "worker"
# What the worker takes from the module and no library has.
TYPES = {"llama_log_callback", "llama_chat_message"}


def called(source: str) -> set[str]:
    """The functions of llama.cpp that a module of the worker names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        name = (
            node.attr
            if isinstance(node, ast.Attribute)
            else node.value
            if isinstance(node, ast.Constant)
            else ""
        )
        if isinstance(name, str) and re.fullmatch(r"(llama|ggml)_[a-z0-9_]+", name):
            found.add(name)
    return found


def test_the_table_has_every_function_that_the_worker_calls_and_no_other() -> None:
    modules = [path for path in WORKER.glob("*.py") if path.stem not in ("names", "introspection", "layouts")]
    named = set().union(*(called(path.read_text(encoding="utf-8")) for path in modules))
    older = {name for need in NEEDS.values() for name in need.older}
    assert named - older - TYPES - {"llama_cpp", "llama_cpp_commit"} == set(NEEDS)


def release(without: tuple[str, ...] = (), **functions: Any) -> Any:
    """A module with every function of the newest release but some, and others of its own."""
    newest = {name: lambda *_: None for name in NEEDS}
    module = {**newest, "llama_log_callback": lambda: None, **functions}
    return SimpleNamespace(**{name: value for name, value in module.items() if name not in without})


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*without: str, **functions: Any) -> Bindings:
        monkeypatch.setitem(sys.modules, "llama_cpp", release(without, **functions))
        return Bindings()

    return make


@pytest.mark.parametrize(
    ("newest", "older"), [(name, each) for name, need in NEEDS.items() for each in need.older]
)
def test_a_function_is_found_under_each_of_its_older_names(newest: str, older: str, bindings: Any) -> None:
    found = bindings(newest, **{older: lambda: "the old one"})
    assert getattr(found.llama, newest)() == "the old one"


def test_the_newest_name_comes_first(bindings: Any) -> None:
    found = bindings(llama_vocab_n_tokens=lambda: "new", llama_n_vocab=lambda: "old")
    assert found.llama.llama_vocab_n_tokens() == "new"


@pytest.mark.parametrize("name", [name for name, need in NEEDS.items() if need.lost is None])
def test_without_a_function_that_every_model_needs_the_build_is_of_no_use(name: str, bindings: Any) -> None:
    with pytest.raises(UnusableError, match=f"has no {name}$"):
        bindings(name)


@pytest.mark.parametrize("name", [name for name, need in NEEDS.items() if need.lost is not None])
def test_without_another_function_only_its_use_fails_and_names_it(name: str, bindings: Any) -> None:
    found = bindings(name)
    with pytest.raises(LackingError, match=f"has no {name}"):
        getattr(found.llama, name)


def test_what_takes_a_vocabulary_or_a_memory_took_the_model_or_the_context_before(bindings: Any) -> None:
    new = bindings(llama_model_get_vocab=lambda model: f"vocabulary of {model}", llama_get_memory=len)
    assert (new.vocabulary_of("model"), new.memory_of("context")) == ("vocabulary of model", 7)
    old = bindings("llama_model_get_vocab", "llama_get_memory")
    assert (old.vocabulary_of("model"), old.memory_of("context")) == ("model", "context")


def test_memory_is_cleared_with_as_many_arguments_as_its_release_takes(bindings: Any) -> None:
    calls: list[Any] = []
    bindings(llama_memory_clear=lambda *given: calls.append(given)).memory_clear("memory")
    old = bindings(
        "llama_get_memory", "llama_memory_clear", llama_kv_cache_clear=lambda *given: calls.append(given)
    )
    old.memory_clear("context")
    assert calls == [("memory", False), ("context",)]


def test_what_a_library_has_undeclared_is_found_in_the_library(bindings: Any) -> None:
    def seq_pos_max(context: object, sequence: int) -> int:
        return 6

    library = SimpleNamespace(llama_kv_cache_seq_pos_max=seq_pos_max)
    missing = ("llama_memory_seq_pos_max", "llama_memory_seq_pos_min")
    found = bindings(*missing, llama_cpp=SimpleNamespace(_lib=library))
    assert found.memory_span("context", 0) == (0, 6)
    assert vars(seq_pos_max) == {"restype": ctypes.c_int32, "argtypes": (ctypes.c_void_p, ctypes.c_int32)}


@pytest.mark.parametrize(("arguments", "renders"), [(4, False), (6, True), (7, False)])
def test_templates_are_rendered_only_by_a_function_that_takes_what_it_takes_today(
    arguments: int, renders: bool, bindings: Any
) -> None:
    function = SimpleNamespace(argtypes=[ctypes.c_void_p] * arguments)
    assert bindings(llama_chat_apply_template=function).renders_templates is renders
