"""Run a command whose processes all end with the process that wanted it, however that one ends.

``python supervisor.py READING LOCK COMMAND…`` in a session of its own. READING is a pipe that nobody writes
to: its other end closes with the process that holds it, even with one that was killed. LOCK is an open file
that the command inherits.

Ninja gives each compiler a process group of its own, so the group is not enough: the session is ended where
/proc lists its processes. Elsewhere ninja is asked first, which ends its compilers, and then killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_PROCESSES = Path("/proc")
_GRACE_SECONDS = 1.0
_ending = threading.Event()


def _end_with(reading: int) -> None:
    os.read(reading, 1)
    _ending.set()
    if _has_proc():
        while others := _others_in_session():
            for each in others:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            time.sleep(0.01)
    else:
        os.killpg(os.getpgrp(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _has_proc() -> bool:
    return (_PROCESSES / "self" / "stat").exists()


def _others_in_session() -> list[int]:
    own, found = os.getsid(0), []
    for folder in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == own and state != "Z" and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def _main(reading: int, lock: int, command: list[str]) -> int:
    if not _has_proc():
        signal.signal(signal.SIGTERM, lambda *_: None)  # which the command does not inherit
    threading.Thread(target=_end_with, args=(reading,), daemon=True).start()
    try:
        code = subprocess.run(command, pass_fds=(lock,), check=False).returncode
    except OSError as error:
        print(f"error: {command[0]} cannot be started: {error}", flush=True)
        return 127
    while _ending.is_set():  # the others are not to outlive this one
        time.sleep(_GRACE_SECONDS)
    return code


if __name__ == "__main__":
    os._exit(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]) % 256)
