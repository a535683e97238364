"""Workers that misbehave, each a script of a few lines."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.engines.llama_cpp_python.process import WorkerProcess
from pytest_llm.errors import (
    EngineError,
    RequestFailedError,
    WorkerAnswerError,
    WorkerDiedError,
    WorkerHungError,
)
from pytest_llm.system.sandbox import Policy, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

# It reads one request after the other, and misbehaves at the first.
_HEAD = """\
import json, os, resource, signal, sys, time
requests, answers = int(sys.argv[2]), int(sys.argv[3])
def send(text):
    data = text.replace("NUMBER", str(asked["id"])).encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(answers, data):]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""
_READ = """\
for line in open(requests):
    asked = json.loads(line)
"""
UNHEARD = "\nasked = {'id': 1}\n"


class Misbehaviour(NamedTuple):
    """What a worker does instead of answering.

    Attributes:
        happens: In words, after "a worker that".
        code: What it does; ``asked`` is the request, and ``send`` puts its number in the place of NUMBER.
        error: What follows of it.
        reason: A part of the message.
        timeout: The seconds that it gets.
        reads: It reads the request first.
    """

    happens: str
    code: str
    error: type[EngineError]
    reason: str
    timeout: float = 20.0
    reads: bool = True


def _malformed(happens: str, answer: str, reason: str) -> Misbehaviour:
    return Misbehaviour(happens, f"send({answer})", WorkerAnswerError, reason)


_NO_JSON = "cannot be trusted (it is not JSON"
_HOLDS = "cannot be trusted (it holds "
_NO_OBJECT = "cannot be trusted (it is not an object of JSON)"
_NEITHER = "cannot be trusted (it is neither a result nor an error)"
_SHAPE = "cannot be trusted (it has another shape)"
_ANOTHER = "cannot be trusted (it answers another request)"
_HANG = 0.1
_IN_TIME = f"gave no answer for {_HANG:g} s"

ANSWERS = {
    "garbage": _malformed("answers garbage", r"'hello\n'", _NO_JSON),
    "half": _malformed("answers half a line", '\'{"id": NUMBER, "ok": [1, \\n\'', _NO_JSON),
    "empty line": _malformed("answers an empty line", r"'\n\n'", _NO_JSON),
    "list": _malformed("answers a list", r"'[1]\n'", _NO_OBJECT),
    "number": _malformed("answers a number", r"'5\n'", _NO_OBJECT),
    "unknown kind": _malformed(
        "answers an error of an unknown kind",
        r"""'{"id": NUMBER, "error": {"kind": "xx", "message": "m"}}\n'""",
        _NEITHER,
    ),
    "no error": _malformed("answers an error that is none", r"""'{"id": NUMBER, "error": 5}\n'""", _NEITHER),
    "nothing": _malformed("answers an empty object", r"""'{"id": NUMBER}\n'""", _NEITHER),
    "both": _malformed(
        "answers a result and an error",
        r"""'{"id": NUMBER, "ok": null, "error": {"kind": "load", "message": "m"}}\n'""",
        _SHAPE,
    ),
    "deep": _malformed(
        "answers 200,000 brackets", r"'['*200000 + ']'*200000 + '\n'", "cannot be trusted (it "
    ),
    "long number": _malformed(
        "answers a number of 5,000 digits", r"""'{"id": NUMBER, "ok": ' + '9'*5000 + '}\n'""", _HOLDS
    ),
    "bytes": _malformed(
        "answers what is not UTF-8",
        r"""'{"id": NUMBER, "ok": "\udcff"}\n'""",
        "cannot be trusted (it is not UTF-8",
    ),
    "half a character": _malformed(
        "answers half of a surrogate pair", r"""'{"id": NUMBER, "ok": "\\ud800"}\n'""", _SHAPE
    ),
    "nan": _malformed("answers NaN", r"""'{"id": NUMBER, "ok": NaN}\n'""", _HOLDS),
    "infinity": _malformed("answers 1e999", r"""'{"id": NUMBER, "ok": 1e999}\n'""", _HOLDS),
    "twice": _malformed(
        "answers with a key that is there twice", r"""'{"id": NUMBER, "ok": 1, "ok": null}\n'""", _HOLDS
    ),
    "another shape": _malformed(
        "answers with a result of another shape",
        r"""'{"id": NUMBER, "ok": {"seconds": "1", "x": [[]]}}\n'""",
        _SHAPE,
    ),
    "another request": _malformed("answers another request", r"""'{"id": 77, "ok": null}\n'""", _ANOTHER),
    "no number": _malformed("answers without the request's number", r"""'{"ok": null}\n'""", _ANOTHER),
    "true": _malformed(
        "answers with `true` for the request's number", r"""'{"id": true, "ok": null}\n'""", _ANOTHER
    ),
    "early": Misbehaviour(
        "answers before it is asked",
        r"""send('{"id": 0, "ok": null}\n'); time.sleep(60)""",
        WorkerAnswerError,
        _ANOTHER,
        reads=False,
    ),
    "gigabyte": Misbehaviour(
        "answers a gigabyte",
        "for _ in range(1024): send('x' * 2**20)",
        WorkerAnswerError,
        "cannot be trusted (it has more than ",
    ),
    "escapes": Misbehaviour(
        "answers an error with terminal escapes and CI commands",
        r"""send('{"id": NUMBER, "error": {"kind": "request", "message": '
        '"\\u001b[2J\\n::error::x\\n##[add-mask]e"}}\n')""",
        RequestFailedError,
        r"build: \x1b[2J : :error::x # #[add-mask]e",
    ),
}
SILENCES = {
    "silent": Misbehaviour("hangs", "time.sleep(60)", WorkerHungError, _IN_TIME, _HANG),
    "half and silence": Misbehaviour(
        "answers half a line and hangs",
        """send('{"id": NUMBER, "o'); time.sleep(60)""",
        WorkerHungError,
        _IN_TIME,
        _HANG,
    ),
    "drip": Misbehaviour(
        "answers a space each 20 ms",
        "\n    while True: send(' '); time.sleep(0.02)",
        WorkerHungError,
        _IN_TIME,
        _HANG,
    ),
    "stopped": Misbehaviour(
        "is stopped", "os.kill(os.getpid(), signal.SIGSTOP)", WorkerHungError, _IN_TIME, _HANG
    ),
    "stops reading": Misbehaviour(
        "stops reading requests", "time.sleep(60)", WorkerHungError, _IN_TIME, _HANG, reads=False
    ),
}
_SIGNALS = (
    *(signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT),
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE),
)
DEATHS = {
    **{
        each.name: Misbehaviour(
            f"dies of {each.name}",
            f"signal.signal({int(each)}, signal.SIG_DFL); os.kill(os.getpid(), {int(each)})"
            if each != signal.SIGKILL
            else "os.kill(os.getpid(), 9)",
            WorkerDiedError,
            f"{each.name}, ",
        )
        for each in _SIGNALS
    },
    "exit 0": Misbehaviour("ends", "os._exit(0)", WorkerDiedError, "exit status 0"),
    "exit 3": Misbehaviour("ends with status 3", "os._exit(3)", WorkerDiedError, "exit status 3"),
    "half and death": Misbehaviour(
        "dies in the middle of its answer",
        """send('{"id": NUMBER, "ok": '); os.kill(os.getpid(), 11)""",
        WorkerDiedError,
        "SIGSEGV, ",
    ),
    "traceback": Misbehaviour(
        "raises an exception", "raise RuntimeError('out of luck')", WorkerDiedError, "exit status 1"
    ),
    "closes": Misbehaviour(
        "closes its answers and goes on",
        "os.close(answers); time.sleep(60)",
        WorkerDiedError,
        "it closed its pipes, and was ended",
    ),
    "truncates": Misbehaviour("truncates its log", "os.ftruncate(2, 0)", WorkerDiedError, "exit status 1"),
}
MISBEHAVIOURS = {**ANSWERS, **SILENCES, **DEATHS}


def start(folder: Path, code: str, timeout: float = 20.0, *, reads: bool = True) -> WorkerProcess:
    """Start a worker that does nothing but what the code says."""
    path = folder / "worker"
    # An interpreter of its own, that runs this instead of the worker.
    path.write_text(
        f"#!{sys.executable} -ISB\n{_HEAD}{_READ if reads else UNHEARD}    {code}\n"
        if reads
        else f"#!{sys.executable} -ISB\n{_HEAD}{UNHEARD}{code}\n",
        encoding="utf-8",
    )
    path.chmod(0o700)
    return WorkerProcess(str(path), Sandbox(Policy("off"), "build", {}), "build", timeout)
