"""Registries: parts by name, added by this package, by a ``conftest.py``, and by installed extensions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import UnknownNameError, UsageError
from pytest_llm.system import registry
from pytest_llm.system.registry import Registry, load_code

if TYPE_CHECKING:
    from pathlib import Path


def a_registry() -> Registry[str]:
    return Registry("engine", {"slow": "package.slow:Slow"})


def test_parts_are_listed_in_the_order_in_which_they_were_registered() -> None:
    engines = a_registry()
    engines.register("fast", "package.fast:Fast")

    assert list(engines.items()) == [("slow", "package.slow:Slow"), ("fast", "package.fast:Fast")]
    assert engines.find("fast") == "package.fast:Fast"


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'slwo': did you mean slow"):
        a_registry().find("slwo")


def test_an_equal_part_may_be_registered_again_and_another_one_may_not_take_its_name() -> None:
    engines = a_registry()
    engines.register("slow", "package.slow:Slow")

    with pytest.raises(UsageError, match="engine 'slow' is registered already: choose another name"):
        engines.register("slow", "other:Slow")

    assert engines["slow"] == "package.slow:Slow"


def test_code_is_loaded_by_the_name_of_its_module_and_its_own() -> None:
    assert load_code("pytest_llm.system.registry:Registry") is Registry


def an_installed_extension(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "an_extension.py").write_text(code, encoding="utf-8")
    info = folder / "an_extension-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: an-extension\nVersion: 1\n", "utf-8")
    (info / "entry_points.txt").write_text("[pytest_llm]\nmine = an_extension\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_loaded", set())
    monkeypatch.delitem(sys.modules, "an_extension", raising=False)


EXTENSION = """
from pytest_llm.system import registry
registry.OURS.register("own", "an_extension:Own")
"""


def test_an_installed_extension_is_loaded_when_a_name_is_missing_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = a_registry()
    monkeypatch.setattr(registry, "OURS", engines, raising=False)
    an_installed_extension(tmp_path, EXTENSION, monkeypatch)

    assert engines["slow"] == "package.slow:Slow"
    assert "an_extension" not in sys.modules
    assert engines.find("own") == "an_extension:Own"
    assert list(engines) == ["slow", "own"]


def test_an_extension_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_installed_extension(tmp_path, "raise RuntimeError('no library')", monkeypatch)

    with pytest.raises(UsageError) as raised:
        list(a_registry())

    assert str(raised.value) == (
        "the extension mine (an_extension) cannot be imported: mend or uninstall it "
        "(RuntimeError: no library)"
    )
