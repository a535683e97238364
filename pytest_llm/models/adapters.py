"""LoRA adapters, as the load option ``lora`` names them: "FILE:SCALE,…"; a scale of 1 may be left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_llm.errors import ModelError, UsageError
from pytest_llm.models.capability import is_adapter
from pytest_llm.models.gguf.header import read_header
from pytest_llm.records import Adapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.records import Model


class NamedAdapter(NamedTuple):
    """A file, and by how much its changes are multiplied."""

    file: str
    scale: float


def parse_adapters(text: str) -> tuple[NamedAdapter, ...]:
    """Read the load option ``lora``.

    Raises:
        UsageError: It is not a list of GGUF files with scales.
    """
    return tuple(_parse(each.strip()) for each in text.split(",") if text)


def _parse(text: str) -> NamedAdapter:
    file, _, scale = text.rpartition(":") if not text.lower().endswith(".gguf") else (text, "", "1")
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not file.lower().endswith(".gguf") or not math.isfinite(number):
        raise UsageError(f"lora: {text!r} is not FILE.gguf or FILE.gguf:SCALE; write 'style.gguf:0.5', say")
    return NamedAdapter(file, number)


def format_adapters(adapters: tuple[NamedAdapter, ...]) -> str:
    """Return adapters as the load option ``lora`` has them."""
    return ",".join(f"{each.file}:{each.scale:g}" for each in adapters)


def with_adapters(model: Model, lora: str, resolve: Callable[[str], Model]) -> Model:
    """Return a model with its adapters, hashed.

    Args:
        model: To which they are applied.
        lora: The load option.
        resolve: Returns the file of a path.

    Raises:
        ModelError: A file is missing, no adapter, or one for models of another architecture.
    """
    return replace(model, adapters=tuple(_adapter(each, model, resolve) for each in parse_adapters(lora)))


def _adapter(named: NamedAdapter, model: Model, resolve: Callable[[str], Model]) -> Adapter:
    file = resolve(named.file)
    if not is_adapter(read_header(file.path, file.opened[0].descriptor)):
        raise ModelError(f"lora: {named.file} is no LoRA adapter; convert one with convert_lora_to_gguf.py")
    if file.architecture != model.architecture:
        raise ModelError(
            f"lora: {named.file} is an adapter for {file.architecture}, {model.name} is "
            f"{model.architecture}: name the model that it was trained on"
        )
    return Adapter(named.file, file.path, file.sha256, named.scale, file.opened)
