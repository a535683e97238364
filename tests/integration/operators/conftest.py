"""Builds whose programs are stand-ins, made from what the real ones printed."""

from __future__ import annotations

import json
import math
import struct
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.checks.operators import ProfilingContext, Work
from pytest_llm.checks.operators.programs import read_output
from pytest_llm.errors import BuildError, EngineError
from pytest_llm.records import LoadOptions, Model, Workload

from . import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_llm.checks.operators.programs import CaseTime

RECORDED = Path(__file__).parent / "recorded"
STAND_IN = Path(__file__).parent / "stand_in.py"
MODEL = Model("small", "", "0" * 64, 1, "llama", "Q4_1", 1, 30, 9, 3, 576, 8192, 49152)
SECONDS = 1.2  # that upstream takes for a case
OPERATIONS = (RECORDED / "ggml.h").read_text(encoding="utf-8")


@dataclass
class Tree:
    """A build with sources: what :class:`~pytest_llm.records.protocols.Programs` promises."""

    source: Path
    commit: str
    lacks: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)

    def program(self, name: str, on_progress: Callable[[str], None]) -> Path:
        on_progress(f"making {name}")
        self.made.append(name)
        if name in self.lacks:
            raise BuildError(f"{self.commit} has no target {name}")
        return self.source / "bin" / name


class Desk:
    """Makes builds, measures them without a process of their own, and tells what was measured."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: list[tuple[str, int]] = []  # which build, and how many threads it might take

    def perf(
        self, program: Path, backend: str, arguments: Sequence[str], threads: int, seconds: float
    ) -> list[CaseTime]:
        """Return what the program would print; it takes ``SECONDS``."""
        does = json.loads(program.with_name("stand_in.json").read_text(encoding="utf-8"))
        self.asked.append((does["name"], threads))
        rows = stand_in.rows(list(arguments), does, len(self.asked))
        if any(stand_in.holds(row, does.get("crash", [])) for row in rows):
            raise EngineError("test-backend-ops was ended by SIGILL")
        return read_output("\n".join(rows))

    def clock(self) -> float:
        return SECONDS * len(self.asked)

    def tree(self, name: str, **does: Any) -> Tree:
        """Return a build whose programs do what ``stand_in.py`` says."""
        source = self._folder / name
        (source / "bin").mkdir(parents=True)
        header = source / "ggml" / "include" / "ggml.h"
        header.parent.mkdir(parents=True)
        first = "GGML_OP_NONE = 0,"
        more = "".join(f" GGML_OP_MORE{each}," for each in range(does.get("renumbered", 0)))
        header.write_text(OPERATIONS.replace(first, f"{first}{more}"), encoding="utf-8")
        said = {"recorded": str(RECORDED), "name": name, **does}
        (source / "bin" / "stand_in.json").write_text(json.dumps(said), encoding="utf-8")
        for program in ("test-backend-ops", "test-export-graph-ops"):
            self._install(source / "bin" / program)
        return Tree(source, name)

    @staticmethod
    def _install(program: Path) -> None:
        program.write_text(
            f"#!{sys.executable} -IS\n{STAND_IN.read_text(encoding='utf-8')}", encoding="utf-8"
        )
        program.chmod(0o755)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the header of the recorded graph's model, as far as shapes go, and a hole for its data."""
    path = tmp_path_factory.mktemp("operators") / "model.gguf"
    path.write_bytes(_header())
    with path.open("r+b") as file:
        file.truncate(200_000_000)
    return path


F32, Q4_1, Q8_0 = (0, 1, 4), (3, 32, 20), (8, 32, 34)  # number, block, bytes of a block
LAYER = {
    "attn_norm": (F32, (576,)),
    "ffn_norm": (F32, (576,)),
    "attn_q": (Q4_1, (576, 576)),
    "attn_k": (Q4_1, (576, 192)),
    "attn_v": (Q4_1, (576, 192)),
    "attn_output": (Q4_1, (576, 576)),
    "ffn_gate": (Q4_1, (576, 1536)),
    "ffn_up": (Q4_1, (576, 1536)),
    "ffn_down": (Q4_1, (1536, 576)),
}


def _header() -> bytes:
    tensors = {"token_embd": (Q8_0, (576, 49152)), "output_norm": (F32, (576,))}
    tensors |= {f"blk.{layer}.{name}": each for layer in range(30) for name, each in LAYER.items()}
    keys = {"block_count": 30, "embedding_length": 576, "attention.head_count": 9}
    parts = [_text("general.architecture") + struct.pack("<I", 8) + _text("llama")]
    parts += [_text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in keys.items()]
    counts = struct.pack("<IQQ", 3, len(tensors), len(parts))
    begin = 0
    for name, ((kind, block, size), shape) in tensors.items():
        numbers = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, begin)
        parts.append(_text(f"{name}.weight") + numbers)
        begin += -(-(math.prod(shape) // block * size) // 32) * 32
    return b"GGUF" + counts + b"".join(parts)


def _text(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


@pytest.fixture
def work(model_file: Path) -> Work:
    model = replace(MODEL, path=str(model_file))
    return Work("generation", model, LoadOptions(n_threads=2), Workload(128, 64))


@pytest.fixture
def context(desk: Desk) -> ProfilingContext:
    turns = iter([True, False] * 1000)
    return ProfilingContext(lambda line: None, desk.clock, lambda: next(turns), cores=4, perf=desk.perf)
