"""Copies of models with F32 weights: made once a run, and kept open, as models are."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llm.errors import ModelError, RequestFailedError
from pytest_llm.models.checksums import identity
from pytest_llm.models.opened import open_file
from pytest_llm.records.subject import OpenedFile

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.records import Model
    from pytest_llm.records.side import Side

# A larger copy would cost too much; a small model of the same architecture shows the same errors.
F32_BYTES_MOST = 4 * 2**30
F32 = "F32"


class NoF32Error(Exception):
    """There is no copy of the model with weights of 32 bits, and why."""


class F32Copies:
    """The copies in a folder, each under the SHA-256 of its model; the folder need not exist.

    Copies of other runs are used only in a trusted cache: any program that can write it can put another
    file there.
    """

    def __init__(self, folder: Path, *, trusts_cache: bool = False) -> None:
        self._folder = folder
        self._trusts_cache = trusts_cache
        self._made: dict[str, OpenedFile] = {}

    def of(self, model: Model, maker: Side) -> Model:
        """Return a copy of a model, made by a subject if necessary; the model itself if its weights are F32.

        Raises:
            NoF32Error: There can be none.
            EngineError: The subject cannot be started.
        """
        if model.quantization == F32:
            return model
        if 4 * model.parameters > F32_BYTES_MOST:
            raise NoF32Error(f"one of {model.parameters / 1e6:.0f} M parameters is too large to be made")
        if model.sha256 not in self._made:
            self._made[model.sha256] = self._opened(model, maker)
        file = self._made[model.sha256]
        size = os.fstat(file.descriptor).st_size
        return replace(model, path=file.path, quantization=F32, file_bytes=size, parts=1, opened=(file,))

    def _opened(self, model: Model, maker: Side) -> OpenedFile:
        path = self._folder / f"{model.sha256}.f32.gguf"
        try:
            if not (self._trusts_cache and path.is_file()):
                path.parent.mkdir(parents=True, exist_ok=True)
                with closing(maker.engine.start_generation(maker.subject, model)) as started:
                    started.write_copy(path)
            descriptor = open_file(path)
        except (RequestFailedError, ModelError, OSError) as error:
            raise NoF32Error(str(error)) from None
        return OpenedFile(str(path), descriptor, identity(descriptor), "")
