"""Placement of layers and caches on a device."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from pytest_llm.models import read_model
from pytest_llm.models.footprint import predict
from pytest_llm.records import LoadOptions
from pytest_llm.suite.candidate import broken
from pytest_llm.suite.memory.loads import MIB, bytes_of, loaded_with, near

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_llm.suite.candidate import Candidate

_SHARE = 0.02
_STEPS = (1, 2, 3, 4)


def test_every_layer_is_there_with_its_weights_and_its_cache(
    candidate: Candidate, device: str, note: Callable[[str], None]
) -> None:
    accepted = loaded_with(candidate, n_gpu_layers=-1)
    layers = candidate.model.layers + 1
    if accepted.effective_options.get("layers_offloaded") != f"{layers}/{layers}":
        broken(
            f"{accepted.effective_options.get('layers_offloaded')} layers are on {device}, not all {layers}"
        )
    for kind in ("weights", "kv"):
        found = bytes_of(accepted, kind)
        if not near(found.logged["device"], found.predicted["device"], _SHARE):
            broken(f"{kind} on {device} are not as predicted: {found}")
        note(f"{kind}, n_gpu_layers=-1: {found}")


def test_each_further_layer_takes_a_layer_more(candidate: Candidate, device: str) -> None:
    """After the output, which is the first, layers have about the same size."""
    held = [
        bytes_of(loaded_with(candidate, n_gpu_layers=count), "weights").logged["device"] for count in _STEPS
    ]
    header = read_model(candidate.model.path)
    layer = predict(header, LoadOptions(), on_device=True).layer_bytes
    for count, (before, after) in enumerate(itertools.pairwise(held), _STEPS[1]):
        if not 0.9 * layer <= after - before <= 1.5 * layer:
            broken(
                f"n_gpu_layers={count} puts {(after - before) / MIB:.2f} MiB more on {device} than "
                f"{count - 1}, a layer has {layer / MIB:.2f} MiB"
            )


def test_without_offload_kqv_the_cache_moves_to_the_host_and_nothing_else(
    candidate: Candidate, device: str
) -> None:
    there, here = (loaded_with(candidate, n_gpu_layers=-1, offload_kqv=each) for each in (True, False))
    if bytes_of(there, "weights").logged != bytes_of(here, "weights").logged:
        broken(f"offload_kqv=False moved weights: {bytes_of(here, 'weights')}")
    moved, left = bytes_of(there, "kv").logged, bytes_of(here, "kv").logged
    if (moved["device"], moved["host"]) != (left["host"], left["device"]) or not moved["device"]:
        broken(f"offload_kqv=False leaves {left} of the KV cache, with it on {device} it is {moved}")
