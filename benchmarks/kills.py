"""Runs, builds, downloads and bisects, ended at random moments by SIGKILL, SIGTERM and SIGINT.

    uv run python -m benchmarks.kills --number 200

Each job is started, ended, and looked at: no process of it may live on, no lock may be held, nothing half
written may be trusted, and the next run of the same job must succeed. The jobs run on the stand-in of
llama.cpp and on small programs. Linux only, where orphans can be counted. Exit status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pytest_llm.baselines.folders import fingerprints, machine_files, portable_files
from pytest_llm.bisect.cache import Unfit
from pytest_llm.builds import manifest
from pytest_llm.errors import LLMBenchError
from pytest_llm.records.serialization import decode
from pytest_llm.reports import recheck
from pytest_llm.system import strict_json
from pytest_llm.system.lock import FileLock
from tests import STAND_IN, TESTS
from tests.gguf_files import GGUF
from tests.releases import write_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
_END_SECONDS, _GRACE_SECONDS, _RUN_SECONDS = 30.0, 1.0, 300.0

_TEST = """
import pytest

@pytest.mark.llm_workload(prompt_tokens=4, generate_tokens=2)
@pytest.mark.llm_no_regression("generation_tokens_per_second")
def test_speed():
    pass

@pytest.mark.llm_model(n_ctx=512)
def test_talk(gguf_model):
    assert gguf_model.generate("hello", max_tokens=2).text
"""
_FETCH = """
import sys
from pathlib import Path
from pytest_llm.models import ModelStore
from pytest_llm.models.catalogue import Entry
url, sha256, cache = sys.argv[1:]
print(ModelStore(Path(cache), {"m": Entry("m", url, sha256)}, Path()).resolve("m").sha256)
"""


@dataclass(frozen=True)
class Job:
    """A command, what to clear before each start, and a check of what it may have left."""

    command: Sequence[str]
    prepare: Callable[[], None]
    problems: Callable[[], Iterator[str]]
    seconds: float = 0.0  # that it takes


class Workplace:
    """A project, a cache, an index of packages and a slow server, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project, self.cache = folder / "project", folder / "cache"
        self.project.mkdir()
        (self.project / "pytest.ini").write_text("[pytest]\n")
        (self.project / "test_it.py").write_text(_TEST)
        self.model = self.project / "tiny.gguf"
        self.model.write_bytes(GGUF().build())
        index = folder / "index"
        index.mkdir()
        write_index(index)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PYTEST_"))},
            "PYTHONPATH": str(TESTS.parent),
            "PYTEST_LLM_LOCK": str(folder / "measuring.lock"),
            "PYTEST_LLM_PASS": "LLAMA_STAND_IN_*",
            "PYTEST_LLM_BUILD_PASS": "STAND_IN_*",
            "STAND_IN_SECONDS": "2",  # of compiling: a process that lives on is to be seen
            "UV_NO_INDEX": "1",
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(index),
            "UV_CACHE_DIR": str(folder / "uv-cache"),
        }
        self.environment.pop("CI", None)

    def jobs(self, url: str, sha256: str) -> dict[str, Job]:
        builds = [f"venv:{self.stand_in(f'b{place}', seconds)}" for place, seconds in enumerate((1, 2))]
        results, baselines = self.project / "r.json", self.project / "baselines"
        pytest_llm = [sys.executable, "-c", "import sys; from pytest_llm.cli import main; sys.exit(main())"]
        measuring = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--llm-bench", "--llm-effort=quick"),
            *(f"--llm-candidate={builds[0]}", f"--llm-model={self.model}", f"--llm-cache={self.cache}"),
        ]
        bisect = [
            *(*pytest_llm, "bisect", "test_it.py::test_speed", f"--builds={','.join(builds)}"),
            *(f"--model={self.model}", "--effort=quick", f"--cache={self.cache}", "--no-operators"),
        ]
        return {
            "run": Job(
                [*measuring, f"--llm-json={results}", "--llm-update-baselines=append"],
                lambda: results.unlink(missing_ok=True),
                lambda: _run_problems(results, baselines),
            ),
            "build": Job(
                [*pytest_llm, "builds", "make", "9.0.1", f"--cache={self.cache}"],
                self._forget_build,
                self._build_problems,
            ),
            "download": Job(
                [sys.executable, "-c", _FETCH, url, sha256, str(self.cache)],
                lambda: self._clear("models"),
                lambda: self._download_problems(sha256),
            ),
            "bisect": Job(bisect, lambda: self._clear("bisect"), self._bisect_problems),
        }

    def stand_in(self, name: str, times_as_slow: int) -> Path:
        """Make an environment in which ``llama_cpp`` is the stand-in."""
        environment = self.folder / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        given = {"LLAMA_STAND_IN_TOKEN_SECONDS": str(times_as_slow / 128)}
        lines = [f"import os; os.environ.update({given!r})", str(STAND_IN)]
        start = "\n".join([*lines, "import virtual_clock; virtual_clock.install()", ""])
        (packages / "stand_in.pth").write_text(start)
        return environment

    def held_locks(self) -> list[str]:
        paths = [*self.folder.rglob(".lock"), *self.folder.rglob("*.lock")]
        return [str(path) for path in paths if path.is_file() and not FileLock(path).is_free()]

    def _clear(self, name: str) -> None:
        """Move what was finished out of the way, so that the job does it again; leave what was not."""
        for path in sorted((self.cache / name).rglob("*"), reverse=True):
            if path.name in ("manifest.json", "m.gguf") or path.name.startswith("comparison-"):
                path.unlink()

    def _forget_build(self) -> None:
        self._clear("builds")
        shutil.rmtree(self.folder / "uv-cache", ignore_errors=True)  # which has the compiled wheel

    def _build_problems(self) -> Iterator[str]:
        for folder in (self.cache / "builds").glob("*/"):
            found = manifest.read(folder)
            python = folder / "environment" / "bin" / "python"
            if (
                found is not None
                and subprocess.run([python, "-c", "import llama_cpp"], check=False).returncode
            ):
                yield f"{folder} has a manifest and does not start"

    def _download_problems(self, sha256: str) -> Iterator[str]:
        for path in (self.cache / "models").rglob("m.gguf"):
            whole = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
            if not whole and not any(part.startswith(".fetch-") for part in path.parts):
                yield f"{path} is not whole"

    def _bisect_problems(self) -> Iterator[str]:
        for path in (self.cache / "bisect").glob("*.json"):
            if path.name.startswith("comparison-"):
                yield from _unsound(path)
            else:
                decode(Unfit, strict_json.read(path, limit=2**20))


def _run_problems(results: Path, baselines: Path) -> Iterator[str]:
    if results.exists():
        yield from _unsound(results)
    try:
        for each in fingerprints(baselines):
            machine_files(baselines, each).everything()
        portable_files(baselines).everything()
    except LLMBenchError as error:
        yield str(error)


def _unsound(path: Path) -> Iterator[str]:
    try:
        recheck.read_sound(path)
    except LLMBenchError as error:
        yield str(error)


class _Slow(BaseHTTPRequestHandler):
    """Serves a model in pieces, over half a second."""

    content = GGUF().build() + bytes(2**20)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        step = len(self.content) // 20
        with suppress(OSError):  # of a client that was killed
            for start in range(0, len(self.content), step):
                self.wfile.write(self.content[start : start + step])
                time.sleep(0.025)

    def log_message(self, *_: object) -> None:
        pass


class Killer:
    """Starts jobs and ends them."""

    def __init__(self, workplace: Workplace, drawn: random.Random) -> None:
        self._workplace = workplace
        self._drawn = drawn

    def calibrated(self, job: Job) -> Job:
        """Return a job with the seconds that it takes."""
        started = time.monotonic()
        problem = self._run_to_the_end(job)
        if problem:
            raise SystemExit(f"not even an undisturbed run succeeds: {problem}")
        return Job(job.command, job.prepare, job.problems, time.monotonic() - started)

    def kill(self, job: Job, how: signal.Signals) -> list[str]:
        """Start a job, end it at a random moment, and return what is wrong afterwards."""
        job.prepare()
        process = self._start(job)
        time.sleep(self._drawn.uniform(0, job.seconds))
        process.send_signal(how)
        try:
            process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return [f"it goes on {_END_SECONDS:.0f} s after {how.name}"]
        orphans = self._orphans()
        problems = [f"process {each} lives on" for each in orphans]
        problems += [f"{each} is held" for each in self._workplace.held_locks()]
        problems += job.problems()
        next_run = self._run_to_the_end(job)
        return [*problems, *([f"the next run fails: {next_run}"] if next_run else []), *job.problems()]

    def _start(self, job: Job) -> subprocess.Popen[str]:
        return subprocess.Popen(
            job.command,
            cwd=self._workplace.project,
            env=self._workplace.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            # A shell that runs this in the background has told its children to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def _run_to_the_end(self, job: Job) -> str:
        process = self._start(job)
        try:
            output, _ = process.communicate(timeout=_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"not done after {_RUN_SECONDS:.0f} s"
        return "" if process.returncode == 0 else f"exit status {process.returncode}: {output[-2000:]}"

    def _orphans(self) -> list[str]:
        deadline = time.monotonic() + _GRACE_SECONDS
        while (found := _descendants()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for each in found:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        return [str(each) for each in found]


def _descendants() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if each.status() == psutil.STATUS_ZOMBIE:
                with suppress(ChildProcessError):
                    os.waitpid(each.pid, os.WNOHANG)
            else:
                found.append(each)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--number", type=int, default=200, help="how many kills")
    parser.add_argument("--seed", type=int, default=None, help="of the moments")
    parser.add_argument("--jobs", default="run,build,download,bisect", help="which ones, in turn")
    arguments = parser.parse_args()
    if ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit("orphans cannot be counted on this system")
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    drawn, done, wrong = random.Random(seed), Counter[str](), 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        workplace = Workplace(Path(folder))
        killer = Killer(workplace, drawn)
        url = f"http://127.0.0.1:{server.server_port}/m.gguf"
        known = workplace.jobs(url, hashlib.sha256(_Slow.content).hexdigest())
        jobs = {name: killer.calibrated(known[name]) for name in arguments.jobs.split(",")}
        for name, job in jobs.items():
            print(f"{name}: {job.seconds:.1f} s undisturbed", flush=True)
        for number in range(arguments.number):
            name = list(jobs)[number % len(jobs)]
            how = SIGNALS[number // len(jobs) % len(SIGNALS)]
            problems = killer.kill(jobs[name], how)
            done[f"{name} {how.name}"] += 1
            wrong += bool(problems)
            for each in problems:
                print(f"kill {number}, {name}, {how.name}: {each}", flush=True)
    server.shutdown()
    print(", ".join(f"{what}: {count}" for what, count in sorted(done.items())))
    print(f"{arguments.number} kills, {wrong} of them left something wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
