"""Models that other tools keep: resolved to the very file, and never changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import ModelMissingError, UsageError
from pytest_llm.models import ModelStore
from pytest_llm.models.sources import parse_source

if TYPE_CHECKING:
    from tests.integration.conftest import Project

ROOT = Path("/project")
LAYER = "application/vnd.ollama.image.model"


def ollama_model(store: Path, content: bytes, *place: str, **other: Any) -> Path:
    """Store a model as ``ollama pull`` does; return its blob."""
    digest = hashlib.sha256(content).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    layers = [
        {"mediaType": LAYER, "digest": f"sha256:{digest}", "size": len(content)},
        {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'0' * 64}", "size": 9},
    ]
    manifest = store.joinpath("manifests", *place)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers, **other}), encoding="utf-8")
    return blob


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("ollama:llama3.1:8b", ("registry.ollama.ai", "library", "llama3.1", "8b")),
        ("ollama:llama3.1", ("registry.ollama.ai", "library", "llama3.1", "latest")),
        ("ollama:me/own:q4", ("registry.ollama.ai", "me", "own", "q4")),
        ("ollama:hf.co/owner/name-GGUF:Q4_K_M", ("hf.co", "owner", "name-GGUF", "Q4_K_M")),
    ],
)
def test_a_model_of_ollama_is_its_blob(home: Path, name: str, place: tuple[str, ...]) -> None:
    blob = ollama_model(home / ".ollama" / "models", b"GGUF one", *place)
    assert parse_source(name, ROOT).in_place() == blob


def test_ollama_may_keep_its_models_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "own"))
    blob = ollama_model(home / "own", b"GGUF two", "registry.ollama.ai", "library", "a", "latest")
    assert parse_source("ollama:a", ROOT).in_place() == blob
    blob = blob.rename(blob.with_name(blob.name.replace("-", ":")))  # as older versions call it
    assert parse_source("ollama:a", ROOT).in_place() == blob


def test_what_ollama_does_not_have_is_told(home: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"ollama:none: there is no such model in .*`ollama list`"):
        parse_source("ollama:none", ROOT).in_place()
    place = "registry.ollama.ai", "library", "a", "latest"
    blob = ollama_model(home / ".ollama" / "models", b"GGUF", *place)
    blob.unlink()
    with pytest.raises(ModelMissingError, match=r"is not there: run `ollama pull` again"):
        parse_source("ollama:a", ROOT).in_place()
    ollama_model(home / ".ollama" / "models", b"GGUF", *place, layers=[])
    with pytest.raises(ModelMissingError, match=r"names 0 files of a model"):
        parse_source("ollama:a", ROOT).in_place()
    evil = [{"mediaType": LAYER, "digest": "sha256:../../../../etc/passwd"}]
    ollama_model(home / ".ollama" / "models", b"GGUF", *place, layers=evil)
    with pytest.raises(ModelMissingError, match=r"names 0 files of a model"):
        parse_source("ollama:a", ROOT).in_place()


@pytest.mark.parametrize("name", ["ollama:", "ollama:../x", "ollama:a:..", "ollama:a/b/c/d/e", "ollama:a b"])
def test_what_is_no_name_of_ollama_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a model of Ollama"):
        parse_source(name, ROOT)


def test_a_model_of_lm_studio_is_the_file_in_its_folder(home: Path) -> None:
    folder = home / ".lmstudio" / "models" / "me" / "small-GGUF"
    folder.mkdir(parents=True)
    (folder / "small-Q4_0.gguf").write_bytes(b"GGUF")
    (folder / "mmproj-small.gguf").write_bytes(b"GGUF")
    assert parse_source("lmstudio:me/small-GGUF", ROOT).in_place() == folder / "small-Q4_0.gguf"
    (folder / "small-Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelMissingError, match=r"write lmstudio:me/small-GGUF/small-Q4_0.gguf, say"):
        parse_source("lmstudio:me/small-GGUF", ROOT).in_place()
    found = parse_source("lmstudio:me/small-GGUF/small-Q8_0.gguf", ROOT).in_place()
    assert found == folder / "small-Q8_0.gguf"
    with pytest.raises(ModelMissingError, match=r"has small-Q4_0\.gguf, small-Q8_0\.gguf"):
        parse_source("lmstudio:me/small-GGUF/other.gguf", ROOT).in_place()
    with pytest.raises(ModelMissingError, match="`lms ls` shows its models"):
        parse_source("lmstudio:me/none", ROOT).in_place()


def test_lm_studio_may_keep_its_models_elsewhere(home: Path) -> None:
    (home / ".lmstudio-home-pointer").write_text(f"{home / 'studio'}\n")
    folder = home / "elsewhere" / "me" / "small"
    folder.mkdir(parents=True)
    (folder / "a.gguf").write_bytes(b"GGUF")
    (home / "studio").mkdir()
    (home / "studio" / "settings.json").write_text(json.dumps({"downloadsFolder": str(home / "elsewhere")}))
    assert parse_source("lmstudio:me/small", ROOT).in_place() == folder / "a.gguf"


@pytest.mark.parametrize(
    "name", ["lmstudio:", "lmstudio:a", "lmstudio:a/../b", "lmstudio:a/b/c/d", "lmstudio:/a/b"]
)
def test_what_is_no_name_of_lm_studio_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a model of LM Studio"):
        parse_source(name, ROOT)


def test_the_same_bytes_are_measured_by_their_name_in_a_store(
    home: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = project.model.read_bytes()
    ollama_model(home / "own", content, "registry.ollama.ai", "library", "tiny", "latest")
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "own"))
    project.write(
        """
        @pytest.mark.llm_model("ollama:tiny", n_ctx=256)
        @pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=4)
        def test_speed(llm_bench):
            assert llm_bench.model.name == "ollama:tiny"
        """
    )
    project.measure("--llm-json=results.json").assert_outcomes(passed=1)
    (test,) = json.loads((project.path / "results.json").read_text())["tests"]
    assert test["model"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_what_is_not_pinned_is_never_fetched(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "cache", {}, tmp_path)
    for ask in (store.check, store.resolve):
        with pytest.raises(ModelMissingError, match=r"what is not pinned is never fetched: pin it with"):
            ask("hf:owner/name/file.gguf@main")
