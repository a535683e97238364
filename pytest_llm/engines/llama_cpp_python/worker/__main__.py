"""Start the worker: ``<interpreter> -S <this folder> REQUESTS ANSWERS PARENT SANDBOX``.

REQUESTS and ANSWERS are file descriptors, PARENT is the process id of the one that holds their other ends,
SANDBOX is what ``lockdown`` applies. Nothing but the standard library runs before that: without ``-S``, the
start-up files of the interpreter's packages would. With ``become PARENT SANDBOX PROGRAM ...`` the process is
locked in and becomes the program; with ``wait GATE PARENT SANDBOX PROGRAM ...`` once a byte comes from the
descriptor GATE.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path


def _import_folder_as_package(name: str) -> None:
    # A folder that is run has no package, and its modules import each other relatively. Importing it
    # through its parent folder would put everything that lies there in front of this interpreter's own.
    folder = Path(__file__).parent
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _lock_in(parent: int, description: str) -> None:
    lockdown = importlib.import_module("llm_worker.lockdown")
    lockdown.die_with_parent(parent)
    try:
        lockdown.apply(description)
    except OSError as error:
        sys.exit(f"error: the sandbox cannot be applied ({error}): --llm-sandbox=off measures without one")


def _wait(gate: str, parent: str, description: str, program: str, *arguments: str) -> None:
    _lock_in(int(parent), description)
    opened = os.read(int(gate), 1)
    os.close(int(gate))
    if not opened:
        os._exit(0)
    _turn_into(program, *arguments)


def _become(parent: str, description: str, program: str, *arguments: str) -> None:
    _lock_in(int(parent), description)
    _turn_into(program, *arguments)


def _turn_into(program: str, *arguments: str) -> None:
    try:
        os.execv(program, [program, *arguments])
    except OSError as error:
        os.write(2, f"not started: {error.strerror}".encode())
        os._exit(127)


if __name__ == "__main__":
    _import_folder_as_package("llm_worker")
    if sys.argv[1] == "become":
        _become(*sys.argv[2:])
    if sys.argv[1] == "wait":
        _wait(*sys.argv[2:])
    requests, answers, parent, *sandbox = sys.argv[1:]
    _lock_in(int(parent), *sandbox or ["{}"])
    if sys.flags.no_site:
        import site

        site.main()
    importlib.import_module("llm_worker.serve").main(int(requests), int(answers))
