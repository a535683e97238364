"""Run a command whose processes all end when the one that wanted it does, however that one ends.

``python tied.py READING LOCK COMMAND…`` in a process group of its own. READING is a pipe that nobody writes
to: its other end closes with the process that holds it, even with one that was killed. LOCK is an open file
that the command inherits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _end_with(reading: int) -> None:
    os.read(reading, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _main(reading: int, lock: int, command: list[str]) -> int:
    threading.Thread(target=_end_with, args=(reading,), daemon=True).start()
    try:
        return subprocess.run(command, pass_fds=(lock,), check=False).returncode
    except OSError as error:
        print(f"error: {command[0]} cannot be started: {error}", flush=True)
        return 127


if __name__ == "__main__":
    os._exit(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]) % 256)
