"""Load modes: mapped weights are file-backed, read ones anonymous, as Linux counts them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.errors import LoadRefusedError
from pytest_llm.suite.candidate import broken, not_covered
from pytest_llm.suite.memory.loads import MIB, near, resident

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.candidate import Candidate
    from pytest_llm.suite.memory.loads import Resident

# On the host and without repacking, which makes anonymous copies of mapped weights.
_PLAIN = {"n_gpu_layers": 0, "use_extra_bufts": False}
_MAPPED = ("mmap", "mmap+mlock")
_READ = ("none", "mlock", "direct_io")


@pytest.fixture(autouse=True)
def _on_linux() -> None:
    if not sys.platform.startswith("linux"):
        not_covered("which pages are file-backed: this needs /proc of Linux")


def _resident(candidate: Candidate, load_mode: str) -> Resident:
    options: dict[str, Any] = {**_PLAIN, "load_mode": load_mode}
    try:
        with candidate.loaded(**options) as loaded:
            return resident(candidate, loaded.pid)
    except LoadRefusedError as error:
        not_covered(f"load_mode={load_mode}: {error}")


@pytest.mark.parametrize("load_mode", [*_MAPPED, *_READ])
def test_weights_are_file_backed_where_they_are_mapped_and_anonymous_elsewhere(
    load_mode: str, candidate: Candidate
) -> None:
    """Almost all pages of the model's file are resident, or almost none."""
    found = _resident(candidate, load_mode)
    share = found.model / candidate.model.file_bytes
    if load_mode in _MAPPED and share < 0.9:
        broken(f"load_mode={load_mode} has {share:.0%} of the file mapped and resident")
    if load_mode in _READ and (share > 0.05 or found.anonymous < 0.9 * candidate.model.file_bytes):
        broken(
            f"load_mode={load_mode} has {share:.0%} of the file mapped, and {found.anonymous / MIB:.0f} MiB "
            "of anonymous memory"
        )


def test_mapping_moves_the_weights_from_anonymous_to_file_backed_memory(
    candidate: Candidate, note: Callable[[str], None]
) -> None:
    mapped, read = _resident(candidate, "mmap"), _resident(candidate, "none")
    file, anonymous = mapped.file - read.file, read.anonymous - mapped.anonymous
    size = candidate.model.file_bytes
    line = (
        f"mmap has {file / MIB:.1f} MiB more file-backed and {anonymous / MIB:.1f} MiB less anonymous "
        f"memory, the file has {size / MIB:.1f} MiB"
    )
    if not (near(file, size, 0.05) and near(anonymous, size, 0.05)):
        broken(line)
    note(line)


def test_two_processes_share_mapped_weights(candidate: Candidate, note: Callable[[str], None]) -> None:
    options: dict[str, Any] = {**_PLAIN, "load_mode": "mmap"}
    try:
        with candidate.loaded(**options) as first, candidate.loaded(**options) as second:
            found = [resident(candidate, each.pid) for each in (first, second)]
    except LoadRefusedError as error:
        not_covered(f"load_mode=mmap: {error}")
    shares = [each.model_share / each.model if each.model else 1.0 for each in found]
    if max(shares) > 0.55:
        broken(f"of the mapped weights, {max(shares):.0%} count for one of two processes, not half")
    note(f"of mapped weights, {max(shares):.0%} count for each of two processes")
