"""Start the worker: ``<interpreter> <this folder> REQUESTS ANSWERS PARENT``.

REQUESTS and ANSWERS are file descriptors, PARENT is the process id of the one that holds their other ends.
"""

from __future__ import annotations

import importlib
import importlib.util
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


if __name__ == "__main__":
    _import_folder_as_package("llm_worker")
    serve = importlib.import_module("llm_worker.serve")
    serve.main([int(argument) for argument in sys.argv[1:4]])
