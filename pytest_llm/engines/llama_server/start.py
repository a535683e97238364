"""Start of a server: its command, its sandbox, and where it listens."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.engines.libraries import program_folders
from pytest_llm.engines.llama_server.api import Api
from pytest_llm.engines.llama_server.flags import arguments, serves_sockets, without_model
from pytest_llm.engines.servers.client import Client
from pytest_llm.engines.servers.process import ServerProcess
from pytest_llm.engines.servers.started import free_port
from pytest_llm.models import files_of
from pytest_llm.models.opened import loadable
from pytest_llm.system.http import http_library
from pytest_llm.system.sandbox import Sandbox, own_folder, remove_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_llm.engines.program import EngineProgram
    from pytest_llm.records import Adapter, DraftModel, LoadOptions, Model

_SOCKET = "server.sock"
_LONGEST_SOCKET = 100  # bytes of its path; systems differ from 104 on
_LOOPBACK = "127.0.0.1"
_FOLDER = "pytest-llm-server-"


class Started(NamedTuple):
    """A server that waits to begin, and what has to be closed with it."""

    program: EngineProgram
    process: ServerProcess
    client: Client
    api: Api
    model: str  # as it opens it
    files: ExitStack

    def close(self) -> None:
        self.client.close()  # before the process: an open stream would keep it from ending
        self.process.close()
        self.files.close()


def start_server(
    program: EngineProgram,
    flags: Mapping[str, str],
    options: LoadOptions,
    model: Model,
    command: Sequence[str] | None = None,
    *,
    on_port: bool = False,
) -> Started:
    """Start a process that becomes the server with ``process.begin``.

    Args:
        program: The server.
        flags: Of the program.
        options: The load options.
        model: The model.
        command: The user's own arguments, in the place of the load options.
        on_port: Listen on a free port of the loopback interface, also where a Unix socket could be had.

    Raises:
        LoadRefusedError: The program has no flag for a load option; or the command names another model.
        EngineMissingError: The HTTP library is not installed.
        EngineError: No process can be started.
    """
    http_library()
    with ExitStack() as stack:
        path = stack.enter_context(loadable(model))
        opened: list[tuple[str, str]] = [(path, model.path)]

        def loaded(file: Adapter | DraftModel) -> str:
            opened.append((stack.enter_context(loadable(file)), file.path))
            return opened[-1][0]

        lora = [f"{loaded(each)}:{each.scale:g}" for each in model.adapters]
        draft = loaded(model.draft) if model.draft else ""
        if command is None:
            words = ["-m", path, *arguments(flags, options, lora, draft, program.name)]
        else:
            words = ["-m", path, *without_model(command, model, program.name)]
        port = 0 if serves_sockets(flags) and not on_port else free_port()
        own_files = [Path(each) for each in command or () if Path(each).is_file()]
        sandbox = _sandbox(program, model, port, own_files)
        folder = sandbox.folder
        if folder is None and not port:
            folder = own_folder(Path(tempfile.gettempdir()), _FOLDER)
            stack.callback(remove_folder, folder)
        listens = str(folder / _SOCKET) if folder and not port else None
        if listens is not None and len(os.fsencode(listens)) > _LONGEST_SOCKET:
            sandbox.close()
            port, listens = free_port(), None
            sandbox = _sandbox(program, model, port, own_files)
        where = ["--host", listens] if listens else ["--host", _LOOPBACK, "--port", str(port)]
        descriptors = sorted({each.descriptor for each in model.all_opened})
        process = ServerProcess([program.path, *words, *where], sandbox, program.name, descriptors)
        for each, real in opened:
            process.name_path(each, real)
        url = "http://localhost" if listens else f"http://{_LOOPBACK}:{port}"
        client = Client(url, program.timeout, listens)
        return Started(program, process, client, Api(client, process), path, stack.pop_all())


def _sandbox(program: EngineProgram, model: Model, port: int, own_files: Sequence[Path]) -> Sandbox:
    return Sandbox(
        program.policy,
        program.name,
        program.environment(),
        [program.path, *files_of(model), *own_files],
        libraries=program_folders(Path(program.path)),
        becomes=program.path,
        port=port,
    )
