"""Instructions per decoded token: by a hardware counter in the worker, or in a second one under valgrind."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pytest_llm.errors import EngineError
from pytest_llm.records import Series
from pytest_llm.system.sandbox import own_folder, remove_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llm.records import LoadOptions, Workload

BY_HARDWARE, BY_VALGRIND = "hardware counter", "valgrind"
# Decodes that are counted, after one that is not. Under valgrind one may take minutes.
_STEPS, _STEPS_UNDER_VALGRIND = 8, 2
_FOLDERS = ("libexec/valgrind", "lib/valgrind", "lib64/valgrind", "lib/*/valgrind")


class Countable(Protocol):
    """A loaded subject that counts."""

    @property
    def on_gpu(self) -> bool: ...

    def load(self) -> float: ...

    def count_instructions(self, held: int, steps: int, folder: str = "") -> tuple[float | None, str]:
        """Return the instructions of a decoded token, or None and why.

        Args:
            held: Tokens in the context before.
            steps: Decodes that are counted.
            folder: Where callgrind writes; "" for the hardware counter.
        """

    def close(self) -> None: ...


class InstructionCounter:
    """Counts once for each workload, since what repeats exactly is the same in every session."""

    def __init__(
        self,
        options: LoadOptions,
        start: Callable[[Valgrind, Path], Countable],
        find: Callable[[Mapping[str, str]], Valgrind | None] | None = None,
    ) -> None:
        """Take a subject's load options, and what starts it under valgrind, which writes into a folder."""
        self._room = options.n_ctx if options.kv_unified else options.n_ctx // options.n_seq_max
        self._start = start
        self._find = find or find_valgrind
        self._found: dict[Workload, Series] = {}
        self._under_valgrind: Series | None = None

    def count(self, loaded: Countable, workload: Workload) -> Series:
        """Return the instructions of a decoded token, without a value if they cannot be counted.

        Args:
            loaded: What the hardware counter counts; its context is empty afterwards.
            workload: What is measured.

        Raises:
            EngineError: The worker of ``loaded`` refused, died or hung.
        """
        if workload not in self._found:
            self._found[workload] = self._count(loaded, workload)
        return self._found[workload]

    def _count(self, loaded: Countable, workload: Workload) -> Series:
        if workload.embed:
            return Series((), note="texts are embedded, and no token is generated")
        if loaded.on_gpu:
            return Series((), note="a GPU decodes, and the processor only waits")
        held = min(workload.depth + workload.prompt_tokens, self._room - 1 - _STEPS)
        found, reason = loaded.count_instructions(max(0, held), _STEPS)
        if found is not None:
            return Series((found,), note=BY_HARDWARE)
        if self._under_valgrind is None:
            self._under_valgrind = self._by_valgrind(f"no hardware counter ({reason})")
        return self._under_valgrind

    def _by_valgrind(self, otherwise: str) -> Series:
        valgrind = self._find(os.environ)
        if valgrind is None:
            return Series((), note=f"{otherwise}, and no valgrind on PATH")
        folder = own_folder(Path(tempfile.gettempdir()), "pytest-llm-valgrind-")
        try:
            with closing(self._start(valgrind, folder)) as loaded:
                loaded.load()
                found, reason = loaded.count_instructions(0, _STEPS_UNDER_VALGRIND, str(folder))
        except EngineError as error:
            found, reason = None, str(error)
        finally:
            remove_folder(folder)
        if found is None:
            return Series((), note=f"{otherwise}, and valgrind fails: {reason}")
        return Series((found,), note=BY_VALGRIND)


def on_one_thread(options: LoadOptions) -> LoadOptions:
    """Return load options with one thread for all work."""
    return replace(options, n_threads=1, n_threads_batch=1)


class Valgrind(NamedTuple):
    """The program that runs another one and counts, with its folder."""

    program: str
    tool: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables that valgrind sets for its tool, which is started directly: valgrind may be a script."""
        return {"VALGRIND_LAUNCHER": self.program, "VALGRIND_LIB": str(self.tool.parent)}

    def command(self, folder: Path) -> list[str]:
        """Return the command that the program to run follows; counts are written to a folder."""
        options = ("--tool=callgrind", "--instr-atstart=no", "--vgdb=no", "--quiet")
        return [str(self.tool), *options, f"--callgrind-out-file={folder}/callgrind"]


def find_valgrind(environ: Mapping[str, str]) -> Valgrind | None:
    """Return the valgrind on PATH; None without one that counts."""
    program = shutil.which("valgrind", path=environ.get("PATH"))
    if program is None:
        return None
    named = environ.get("VALGRIND_LIB")
    prefix = Path(program).resolve().parent.parent
    folders = [Path(named)] if named else [each for name in _FOLDERS for each in prefix.glob(name)]
    tools = [tool for folder in folders for tool in folder.glob(f"callgrind-*{_machine()}*-linux")]
    return Valgrind(program, tools[0]) if tools else None


def _machine() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
