"""Fuzzing of what reads bytes from strangers: GGUF headers, strict JSON, answers of workers.

    uv run python -m benchmarks.fuzz [header|json|wire] [--seconds 60]

Needs atheris, which has no wheel for every Python; without it nothing is fuzzed, and one line says so. Each
reader must either return or raise its own error, within a second and 100 MB. An input that breaks one is kept
in the current folder, for a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[bytes], None]

LONGEST_SECONDS = 1
MOST_MB = 100  # beyond what the interpreter itself takes
LONGEST_INPUT = 2**16
_TIMEOUT = 70  # the fuzzer's exit status


def check(error: Exception, offset: int = 0, size: int = 0) -> None:
    """Raise unless an error is one line about a byte of the input."""
    assert str(error).count("\n") == 0 <= offset <= size, error


def header() -> Reader:
    """Return the reader of GGUF headers."""
    from pytest_llm.errors import ModelHeaderError
    from pytest_llm.models.gguf.header import read_header

    descriptor = os.memfd_create("fuzz") if hasattr(os, "memfd_create") else tempfile.mkstemp()[0]

    def read(data: bytes) -> None:
        os.ftruncate(descriptor, len(data))
        os.pwrite(descriptor, data, 0)
        try:
            read_header(Path("fuzzed.gguf"), descriptor)
        except ModelHeaderError as error:
            check(error, error.offset, len(data))

    return read


def json() -> Reader:
    """Return the reader of results, baselines and records."""
    from pytest_llm.errors import DataError
    from pytest_llm.system import strict_json

    def read(data: bytes) -> None:
        try:
            strict_json.loads(data, limit=LONGEST_INPUT, what="fuzzed.json")
        except DataError as error:
            check(error)

    return read


def wire() -> Reader:
    """Return the reader of answers, which also checks their shapes."""
    from pytest_llm.engines.llama_cpp_python.operations import OPERATIONS
    from pytest_llm.engines.llama_cpp_python.wire import MalformedAnswerError, parse

    def read(data: bytes) -> None:
        try:
            answer = parse(data, LONGEST_INPUT)
        except MalformedAnswerError as error:
            check(error)
            return
        for operation in OPERATIONS.values():
            operation.answer(answer.get("ok"))

    return read


TARGETS: dict[str, Callable[[], Reader]] = {"header": header, "json": json, "wire": wire}
# Modules whose branches guide the fuzzer.
INSTRUMENTED = [
    "pytest_llm.models.gguf",
    "pytest_llm.system.strict_json",
    "pytest_llm.engines.llama_cpp_python.operations",
    "pytest_llm.engines.llama_cpp_python.wire",
]


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with."""
    if target == "header":
        from tests.gguf_files import GGUF

        whole = GGUF()
        split = whole.with_key("split.count", GGUF.U32, GGUF.u32(2))
        return [whole.build(), split.build(), whole.but(version=GGUF.u32(2)).build(), whole.build()[:200]]
    return [
        b'{"id": 1, "ok": {"seconds": 0.5, "on_gpu": false}}',
        b'[1, 2.5e-7, "\\u00e9\\n", null, true, [[]]]',
    ]


def fuzz(target: str, seconds: int, folder: Path, found: Path) -> None:
    """Fuzz one target in this process, which ends with it; what it finds is written to a folder."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        read = TARGETS[target]()
    for number, data in enumerate(seeds(target)):
        (folder / str(number)).write_bytes(data)
    arguments = [
        *(sys.argv[0], str(folder), f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}"),
        *(f"-timeout={LONGEST_SECONDS}", f"-rss_limit_mb={resident_mb() + MOST_MB}", "-print_final_stats=1"),
        f"-artifact_prefix={found}/",
    ]
    atheris.Setup(arguments, read)
    atheris.Fuzz()


def resident_mb() -> int:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def run(target: str, seconds: int) -> int:
    """Fuzz one target in a process of its own; return its exit status.

    The fuzzer's limit is in real time, for which a busy machine may stop any input: such a one counts if it
    takes as long of the processor.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "benchmarks.fuzz",
            target,
            f"--seconds={seconds}",
            f"--here={folder}",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        late = [*Path(folder).glob("timeout-*")]
        waited = done.returncode == _TIMEOUT and late and not any(is_slow(target, each) for each in late)
    output = done.stdout.decode(errors="replace")
    runs = [line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line]
    if done.returncode:
        print(output)
    why = ", after an input that only waited for the machine" if waited else ""
    print(f"{target}: {' '.join(runs) or 'no'} runs in {seconds} s, exit status {done.returncode}{why}")
    return 0 if waited else done.returncode


def is_slow(target: str, file: Path) -> bool:
    """Return if an input takes longer than it may, of the processor's time."""
    read = TARGETS[target]()
    data = file.read_bytes()
    begun = time.process_time()
    read(data)
    return time.process_time() - begun > LONGEST_SECONDS


def main() -> int:
    """Read the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", nargs="?", choices=[*TARGETS], help="default: each of them")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--here", type=Path, help="in this process; the folder of what is found")
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(
            f"not covered: atheris has no wheel for Python {sys.version.split()[0]} here: nothing is fuzzed"
        )
        return 0
    if asked.here:
        with tempfile.TemporaryDirectory() as folder:
            fuzz(asked.target, asked.seconds, Path(folder), asked.here)
    return max(run(each, asked.seconds) for each in ([asked.target] if asked.target else TARGETS))


if __name__ == "__main__":
    sys.exit(main())
