"""What the kernel says a process was started with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Started(NamedTuple):
    """The environment and the size of everything."""

    variables: dict[str, str]
    environment_bytes: int
    argument_bytes: int  # with the path of the program, which is stored twice


def started_with(pid: int) -> Started:
    folder = Path(f"/proc/{pid}")
    environment, arguments = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
    pairs = (each.partition(b"=") for each in environment.split(b"\0")[:-1])
    variables = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    return Started(variables, len(environment), len(arguments) + arguments.index(b"\0") + 1)
