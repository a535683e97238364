"""Pins: the same build, however a project writes it down."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llm.builds.pins import as_build, pinned_in
from pytest_llm.errors import LLMBenchError, UsageError

COMMIT = "0c1e57098f3a1d2b4c5d6e7f8091a2b3c4d5e6f7"
UV_LOCK = """
version = 1
[[package]]
name = "numpy"
version = "2.4.6"
[[package]]
name = "llama-cpp-python"
version = "0.3.16"
dependencies = [{ name = "numpy" }]
"""
PYPROJECT = """
[project]
name = "app"
dependencies = ["numpy>=2", "Llama_CPP.Python[server] == 0.3.16 ; python_version > '3.10'"]
[tool.llama-view]
version = "1.2.3"
"""
POETRY = """
[tool.poetry.dependencies]
python = "^3.10"
llama-cpp-python = {version = "==0.3.16", extras = ["server"]}
"""
SHELL = f"""
# LLAMA_CPP_REF=b1000
export OTHER_VERSION=1.2.3
export LLAMA_CPP_REF="{COMMIT}"
"""


@pytest.mark.parametrize(
    ("name", "text", "pin"),
    [
        ("requirements.txt", "numpy\nllama-cpp-python==0.3.16  # pinned\n", "0.3.16"),
        ("requirements.txt", "llama_cpp_python[server] == 0.3.16 \\\n    --hash=sha256:00", "0.3.16"),
        ("requirements.txt", "# llama-cpp-python==0.3.1\nllama-cpp-python==0.3.16.post1\n", "0.3.16.post1"),
        ("pyproject.toml", PYPROJECT, "0.3.16"),
        ("pyproject.toml", POETRY, "0.3.16"),
        ("uv.lock", UV_LOCK, "0.3.16"),
        ("poetry.lock", UV_LOCK, "0.3.16"),
        ("pylock.toml", UV_LOCK.replace("[[package]]", "[[packages]]"), "0.3.16"),
        ("Pipfile.lock", '{"default": {"llama-cpp-python": {"version": "==0.3.16"}}}', "0.3.16"),
        ("environment.yml", "dependencies:\n  - pip:\n    - llama-cpp-python==0.3.16\n", "0.3.16"),
        ("Dockerfile", "FROM python:3.11\nARG LLAMA_CPP_TAG=b6000\n", "b6000"),
        ("build.sh", SHELL, COMMIT),
        ("ci.yml", "env:\n  LLAMA_CPP_VERSION: 'b6000'\n", "b6000"),
        ("llama.cmake", "set(LLAMA_CPP_TAG b6000)\n", "b6000"),
        ("Makefile", "LLAMA_CPP := b6000\n", "b6000"),
        ("engines.json", f'{{"engines": {{"llama.cpp": {{"rev": "{COMMIT}"}}}}}}', COMMIT),
        ("engines.json", '{"llama.cpp": "b6000", "whisper.cpp": "v1.7.0"}', "b6000"),
        ("versions.toml", '[engines]\nllama_cpp = "b6000"\n', "b6000"),
    ],
)
def test_it_is_found_without_a_key(name: str, text: str, pin: str) -> None:
    assert pinned_in(Path(name), text) == pin


@pytest.mark.parametrize(
    ("name", "text", "key", "pin"),
    [
        ("v.env", "LLAMA_OLD=b5000\nLLAMA_NEW=b6000\n", "LLAMA_NEW", "b6000"),
        ("v.env", "ENGINE=v0.3.16\n", "ENGINE", "0.3.16"),
        ("v.json", '{"a": {"llama": "b5000"}, "b": {"llama": "b6000"}}', "b.llama", "b6000"),
        ("requirements.txt", "my-llama==0.3.16\nllama-cpp-python==0.3.20\n", "my-llama", "0.3.16"),
    ],
)
def test_a_key_chooses(name: str, text: str, key: str, pin: str) -> None:
    assert pinned_in(Path(name), text, key) == pin


@pytest.mark.parametrize(
    ("name", "text", "key", "told"),
    [
        (
            "requirements.txt",
            "llama-cpp-python>=0.3\n",
            "",
            "requirements.txt: no pin is in it (name the package",
        ),
        (
            "v.env",
            "LLAMA_OLD=b5000\nLLAMA_NEW=b6000\n",
            "",
            "2 pins are in it, b5000, b6000: choose one with --key",
        ),
        ("v.env", "LLAMA=b5000\n", "LLAMAS", "no pin of LLAMAS is in it (correct the key)"),
        ("v.json", "{", "", "v.json is no JSON"),
        ("v.json", "[" * 100_000, "", "v.json is no JSON"),
        ("v.toml", "x", "", "v.toml is not valid TOML"),
        ("v.env", "LLAMA=master\n", "", "no pin is in it"),
    ],
)
def test_what_pins_nothing_or_two_things_is_one_line(name: str, text: str, key: str, told: str) -> None:
    with pytest.raises(LLMBenchError) as caught:
        pinned_in(Path(name), text, key)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_places_with_one_pin_are_one() -> None:
    assert (
        pinned_in(Path("r.txt"), "llama-cpp-python==0.3.16\nllama-cpp-python[server]==0.3.16\n") == "0.3.16"
    )


def test_a_release_is_a_build_and_a_commit_needs_a_checkout() -> None:
    assert as_build("0.3.16") == "0.3.16"
    assert as_build("b6000", Path("../llama.cpp")) == "git:b6000:../llama.cpp"
    with pytest.raises(UsageError, match=r"0c1e57098 is a commit of llama\.cpp: name a checkout"):
        as_build("0c1e57098")


def test_a_tag_without_a_checkout_is_the_prebuilt_server() -> None:
    assert as_build("b11434") == "llama-server@b11434"
