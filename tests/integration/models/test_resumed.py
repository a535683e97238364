"""Downloads that are interrupted go on where they were, and what arrives is what is pinned."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from pytest_llm.errors import ModelFetchError, ModelHashError
from pytest_llm.models import ModelStore
from pytest_llm.models.catalogue import Entry
from tests import tiny_models
from tests.file_server import FileServer, serving_files


def entry(files: FileServer, content: bytes, sha256: str = "") -> Entry:
    files.files["/m.gguf"] = content
    return Entry("m", f"{files.url}/m.gguf", sha256 or hashlib.sha256(content).hexdigest())


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return tiny_models.llama(tmp_path / "made.gguf").read_bytes()


@pytest.mark.parametrize("seed", range(8))
def test_a_transfer_that_is_cut_at_random_is_whole_in_the_end(
    tmp_path: Path, content: bytes, seed: int
) -> None:
    drawn = random.Random(seed)
    with serving_files() as files:
        files.cut = [drawn.randrange(1, len(content) // 4) for _ in range(drawn.randrange(1, 6))]
        cuts = len(files.cut)
        store = ModelStore(tmp_path / "cache", {"m": entry(files, content)}, tmp_path)
        assert Path(store.resolve("m").path).read_bytes() == content
        assert len(files.asked) == cuts + 1
        assert all(asked.startswith("bytes=") for _, asked in files.asked[1:])
    folder = Path(store.resolve("m").path).parent
    assert [each.name for each in folder.iterdir() if not each.name.startswith(".lock")] == ["m.gguf"]


def test_a_later_call_goes_on_with_what_an_earlier_one_got(tmp_path: Path, content: bytes) -> None:
    with serving_files() as files:
        known = {"m": entry(files, content)}
        files.cut = [1000, 0]  # then nothing comes any more
        with pytest.raises(ModelFetchError, match="the connection closed after 1000 of"):
            ModelStore(tmp_path / "cache", known, tmp_path).resolve("m")
        found = ModelStore(tmp_path / "cache", known, tmp_path).resolve("m")
        assert Path(found.path).read_bytes() == content
        assert files.asked[-1][1] == "bytes=1000-"


def test_a_file_that_changed_meanwhile_begins_anew_and_a_wrong_one_is_not_kept(
    tmp_path: Path, content: bytes
) -> None:
    with serving_files() as files:
        known = {"m": entry(files, content)}
        files.cut = [1000, 0]
        with pytest.raises(ModelFetchError):
            ModelStore(tmp_path / "cache", known, tmp_path).resolve("m")
        files.files["/m.gguf"] = other = content + b"more"
        with pytest.raises(ModelHashError, match="nothing was kept"):
            ModelStore(tmp_path / "cache", known, tmp_path).resolve("m")
        assert hashlib.sha256(other).hexdigest()[:16] not in {each.name for each in tmp_path.rglob("*")}
        assert not [each for each in tmp_path.rglob("*") if each.name.endswith((".part", ".etag"))]
        files.files["/m.gguf"] = content
        assert Path(ModelStore(tmp_path / "cache", known, tmp_path).resolve("m").path).exists()


def test_a_server_that_cannot_go_on_is_asked_for_the_whole_file_by_the_next_call(
    tmp_path: Path, content: bytes
) -> None:
    with serving_files() as files:
        files.tags = False
        known = {"m": entry(files, content)}
        files.cut = [1000]
        with pytest.raises(ModelFetchError, match="closed after 1000"):
            ModelStore(tmp_path / "cache", known, tmp_path).resolve("m")
        assert Path(ModelStore(tmp_path / "cache", known, tmp_path).resolve("m").path).read_bytes() == content
        assert [asked for _, asked in files.asked] == ["", ""]


def test_a_part_that_is_whole_already_is_fetched_anew(tmp_path: Path, content: bytes) -> None:
    with serving_files() as files:
        known = {"m": entry(files, content)}
        files.cut = [1000, 0]
        with pytest.raises(ModelFetchError):
            ModelStore(tmp_path / "cache", known, tmp_path).resolve("m")
        (part,) = tmp_path.rglob("m.gguf.part")
        part.write_bytes(content)  # as if the process had ended before it gave the file its name
        assert Path(ModelStore(tmp_path / "cache", known, tmp_path).resolve("m").path).read_bytes() == content
        assert [asked for _, asked in files.asked[-2:]] == [f"bytes={len(content)}-", ""]
