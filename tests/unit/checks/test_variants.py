"""Variants of a test: what tells them apart, and what is noted of them."""

from __future__ import annotations

from dataclasses import replace

from pytest_llm.checks.variants import labels_of
from pytest_llm.records import LoadOptions, Release, Subject
from tests.bare import SUBJECT


def test_a_label_names_what_differs_and_nothing_else() -> None:
    options = [LoadOptions(flash_attn="on"), LoadOptions(flash_attn="off", check_tensors=True)]
    variants = [replace(SUBJECT, load_options=each) for each in options]
    assert labels_of(variants) == ["check_tensors=false flash_attn=on", "check_tensors=true flash_attn=off"]
    build = Release("llama-cpp-python", "0.3.16")
    others = [SUBJECT, Subject("q8.gguf", build, SUBJECT.load_options)]
    assert labels_of(others) == ["m llama-cpp-python", "q8.gguf llama-cpp-python@0.3.16"]
