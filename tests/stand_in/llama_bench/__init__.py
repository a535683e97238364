"""A stand-in for llama-bench that looks like the real one of a release: flags, answers, refusals.

``said/RELEASE`` holds what the real program wrote: ``help.txt`` is ``llama-bench --help``, and
``answer.jsonl`` is ``llama-bench -m SmolLM2-135M-Instruct.Q4_1.gguf -o jsonl -r 2 -p 0 -n 4 -d 8 -t 2``,
compiled from the llama.cpp in the source archive of llama-cpp-python with ``-DGGML_NATIVE=OFF``; fields that
tell of a machine or a time were made up. Times are pretended: nothing is computed. The fixture
``bench_program`` writes a program, and says what it does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

SAID = Path(__file__).parent / "said"
# Flag -> the field of an answer that has its value.
_ECHOED = {"-lm": "load_mode", "-ctk": "type_k", "-ctv": "type_v"}
_SWITCHES = {"-v", "--verbose", "--progress", "--no-warmup"}


def run(release: str, does: dict[str, object]) -> NoReturn:
    """Do what a command line asks for, and exit."""
    sys.exit(_Program(release, **does).main(sys.argv[1:]))  # type: ignore[arg-type]


class _Program:
    """The program.

    Attributes:
        prompt, generation: Tokens per second.
        without: Flags that it does not have.
        trouble: "crash", "hang", "garbage" or "silence".
        when: While doing what: "load", "prompt" or "generation".
        diary: A file that gets one line for each command line.
        version: How it says its version.
        answer: Fields of its answers that are others.
        log: What llama.cpp writes in it while it loads, where it is told to be verbose.
    """

    def __init__(
        self,
        release: str,
        prompt: float = 200.0,
        generation: float = 50.0,
        without: tuple[str, ...] = (),
        trouble: str = "",
        when: str = "load",
        diary: str = "",
        version: str = "0.5.0-dev (build {number}, commit {commit})",
        answer: dict[str, object] | None = None,
        log: str = "",
    ) -> None:
        self.help = (SAID / release / "help.txt").read_text(encoding="utf-8")
        for flag in without:
            self.help = re.sub(rf"^  {re.escape(flag)}, .*\n", "", self.help, flags=re.MULTILINE)
        self.answer = {
            **json.loads((SAID / release / "answer.jsonl").read_text(encoding="utf-8")),
            **(answer or {}),
        }
        self.given = answer or {}
        self.speeds = {"n_prompt": prompt, "n_gen": generation}
        self.trouble, self.when, self.diary, self.version, self.log = trouble, when, diary, version, log

    def main(self, arguments: list[str]) -> int:
        if self.diary:
            with Path(self.diary).open("a", encoding="utf-8") as file:
                file.write(json.dumps(arguments) + "\n")
        if "--help" in arguments:
            print(self.help, end="")
            return 0
        if "--version" in arguments and "--version" in self.help:
            number, commit = self.answer["build_number"], self.answer["build_commit"]
            print(f"version: {self.version.format(number=number, commit=commit)}", file=sys.stderr)
            return 0
        flags = set(
            re.findall(r"(?<![\w-])--?[a-z][\w-]*", "\n".join(re.findall(r"^  -.*", self.help, re.M)))
        )
        asked = {}
        words = iter(arguments)
        for word in words:
            if word not in flags:
                print(f"error: invalid parameter for argument: {word}", file=sys.stderr)
                print(self.help, end="")
                return 1
            asked[word] = "" if word in _SWITCHES else next(words)
        with Path(asked["-m"]).open("rb") as file:
            if file.read(4) != b"GGUF":
                print(f"llama_bench: error: failed to load model '{asked['-m']}'", file=sys.stderr)
                return 1
        return self._time(asked)

    def _time(self, asked: dict[str, str]) -> int:
        work = {"n_prompt": int(asked["-p"]), "n_gen": int(asked["-n"]), "n_depth": int(asked.get("-d", 0))}
        if "-v" in asked:
            print(self.log, end="", file=sys.stderr, flush=True)
        doing = "load" if "-v" in asked else "prompt" if work["n_prompt"] else "generation"
        if self.trouble and self.when == doing:
            if self.trouble == "crash":
                print("ggml.c:1: GGML_ASSERT(false) failed", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGABRT)
            if self.trouble == "hang":
                time.sleep(600)
            if self.trouble == "garbage":
                print("warning: something on standard output\n{")
            return 0
        seconds = sum(work[kind] / speed for kind, speed in self.speeds.items())
        options: dict[str, object] = {
            "n_batch": int(asked["-b"]),
            "n_ubatch": int(asked["-ub"]),
            "n_threads": int(asked["-t"]),
        }
        options |= {
            name: asked[flag] for flag, name in _ECHOED.items() if flag in asked and name in self.answer
        }
        if "-mmp" in asked:
            options["use_mmap"] = asked["-mmp"] == "1"
        times = [round(seconds * 1e9)] * int(asked["-r"])
        answer = {**self.answer, **work, **options, **self.given, "samples_ns": times}
        if "-d" not in asked:
            del answer["n_depth"]
        print(json.dumps(answer))
        return 0
