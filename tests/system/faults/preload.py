"""Builds of llama.cpp that are slow, die or hang, made of the installed one: see ``graph_compute.c``."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

SOURCE = Path(__file__).parent / "graph_compute.c"


def installed_headers() -> Path:
    """Return the folder of the ggml headers that came with the installed llama-cpp-python.

    Raises:
        RuntimeError: It brought none.
    """
    for file in metadata.files("llama-cpp-python") or ():
        if file.name == "ggml.h":
            return Path(str(file.locate())).parent
    raise RuntimeError(f"{SOURCE.name} needs ggml.h and the installed llama-cpp-python brought none")


def compile_library(folder: Path, headers: Path | None = None, always: float = 0.0) -> Path:
    """Compile the library into a folder and return its path.

    Args:
        folder: Where it is put.
        headers: The folder of ``ggml.h``, if not the installed one.
        always: Slows every process that loads it by this share, whatever the environment says.

    Raises:
        RuntimeError: There is no C compiler or no header, or the compiler refuses.
    """
    compiler = os.environ.get("CC") or "cc"
    if shutil.which(compiler) is None:
        raise RuntimeError(f"{SOURCE.name} must be compiled and there is no {compiler}: install a C compiler")
    library = folder / "graph_compute.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    flags += [f"-DALWAYS_SLOWDOWN={always}"] if always else []
    flags += ["-isystem", str(headers or installed_headers())]
    command = [compiler, *flags, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return library


@dataclass(frozen=True)
class Fault:
    """What is wrong with every graph of a process, from graph number ``begin`` on, that is deep enough.

    Attributes:
        slowdown: Each graph takes 1 + ``slowdown`` times as long.
        signal: The process gets it in the middle of a decode.
        hang: The graph never ends.
        allocate: So many bytes more are held after each graph.
        spin: So many threads spin whenever the process has computed nothing for a while.
        begin: The first graph, counted from 1; one decode of up to ``n_ubatch`` tokens is one graph.
        deeper_than: Only graphs that attend to more positions of the KV cache than these; 0 is every graph.
            llama.cpp pads what a graph attends to, usually to multiples of 256.
    """

    slowdown: float = 0.0
    signal: signal.Signals | None = None
    hang: bool = False
    allocate: int = 0
    spin: int = 0
    begin: int = 1
    deeper_than: int = 0

    def environment(self, library: Path) -> Mapping[str, str]:
        """Return the variables under which a process has this fault; set all of them before it starts."""
        variables = {
            "GGML_FAULT_SLOWDOWN": repr(self.slowdown) if self.slowdown else "",
            "GGML_FAULT_SIGNAL": str(int(self.signal)) if self.signal is not None else "",
            "GGML_FAULT_HANG": "1" if self.hang else "",
            "GGML_FAULT_ALLOCATE": str(self.allocate) if self.allocate else "",
            "GGML_FAULT_SPIN": str(self.spin) if self.spin else "",
            "GGML_FAULT_FROM": str(self.begin) if self.begin > 1 else "",
            "GGML_FAULT_DEEPER_THAN": str(self.deeper_than) if self.deeper_than else "",
        }
        given = {name: value for name, value in variables.items() if value}
        return {"LD_PRELOAD": str(library), **given}
