"""Builds the stand-in as uv would have llama-cpp-python built; variables set what becomes of it.

STAND_IN_COMPILES
    A file to which each compilation adds a line: the version, and CMAKE_ARGS.
STAND_IN_HOLD
    A folder: when compiling begins, the file ``compiling`` is written there, with this process's id; and
    compiling goes on when there is a file ``go``.
STAND_IN_SECONDS
    How long compiling takes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

_METADATA = Path("PKG-INFO").read_text(encoding="utf-8")
_VERSION = next(line.split(": ")[1] for line in _METADATA.splitlines() if line.startswith("Version: "))
_WHEEL = "Wheel-Version: 1.0\nGenerator: stand-in\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(
    wheel_directory: str, config_settings: object = None, metadata_directory: object = None
) -> str:
    arguments = os.environ.get("CMAKE_ARGS", "none at all")
    _note(arguments)
    print("[1/3] Building CXX object ggml.cpp.o", flush=True)
    _hold()
    _compile()
    print("[2/3] Building CXX object llama.cpp.o", flush=True)
    if _VERSION == "9.0.3":
        print("llama.cpp:42:7: error: expected ';' before '}' token", flush=True)
        sys.exit("ninja: build stopped: subcommand failed.")
    name = f"llama_cpp_python-{_VERSION}"
    with zipfile.ZipFile(Path(wheel_directory, f"{name}-py3-none-any.whl"), "w") as wheel:
        for path in [*sorted(map(str, Path("llama_cpp").glob("*.py"))), "virtual_clock.py"]:
            wheel.writestr(path, _altered(path, arguments))
        wheel.writestr("stand_in.pth", "import virtual_clock; virtual_clock.install()\n")
        wheel.writestr(f"{name}.dist-info/METADATA", _METADATA)
        wheel.writestr(f"{name}.dist-info/WHEEL", _WHEEL)
        wheel.writestr(f"{name}.dist-info/RECORD", "")
    return f"{name}-py3-none-any.whl"


def _altered(path: str, arguments: str) -> str:
    text = Path(path).read_text(encoding="utf-8").replace("0.0.1", _VERSION)
    if not path.endswith("llama_cpp.py"):
        return text
    said = f"CPU : BUILT = {arguments} | ".encode()
    return f"{text}\n\ndef llama_print_system_info() -> bytes:\n    return {said!r}\n"


def _note(arguments: str) -> None:
    if "STAND_IN_COMPILES" in os.environ:
        with Path(os.environ["STAND_IN_COMPILES"]).open("a", encoding="utf-8") as file:
            file.write(f"{_VERSION} {arguments}\n")


def _compile() -> None:
    """Compile sources where scikit-build-core would, if there are any."""
    folder = os.environ.get("SKBUILD_BUILD_DIR")
    if folder and Path("CMakeLists.txt").exists():
        subprocess.run(
            ["cmake", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-S", ".", "-B", folder], check=True
        )
        subprocess.run(["cmake", "--build", folder], check=True)


def _hold() -> None:
    time.sleep(float(os.environ.get("STAND_IN_SECONDS", 0)))
    if "STAND_IN_HOLD" not in os.environ:
        return
    folder = Path(os.environ["STAND_IN_HOLD"])
    unfinished = folder / "unfinished"
    unfinished.write_text(str(os.getpid()), encoding="utf-8")
    unfinished.rename(folder / "compiling")
    while not (folder / "go").exists():
        time.sleep(0.05)
