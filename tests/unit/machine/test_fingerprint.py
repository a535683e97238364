"""What of a machine is in its fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.machine import fingerprint
from pytest_llm.machine.processor import read_processor

if TYPE_CHECKING:
    from pathlib import Path

    from .things import Tree

CACHE = "sys/devices/system/cpu/cpu0/cache"
# Two generations that a host rents out under one name.
MILAN = {
    "vendor_id": "AuthenticAMD",
    "cpu family": "25",
    "model": "1",
    "model name": "AMD EPYC",
    "stepping": "1",
    "flags": "fpu sse pni ssse3 fma avx f16c avx2 bmi2",
}
GENOA = {**MILAN, "model": "17", "flags": f"{MILAN['flags']} avx512f avx512_vnni avx512_bf16"}
GRAVITON = {
    "Features": "fp asimd evtstrm aes asimdhp asimddp sve i8mm bf16",
    "CPU implementer": "0x41",
    "CPU architecture": "8",
    "CPU variant": "0x1",
    "CPU part": "0xd40",
    "CPU revision": "1",
}
LITTLE = {**GRAVITON, "CPU part": "0xd46"}


def machine(tree: Tree, *cores: dict[str, str], caches: tuple[str, ...] = ("32K", "512K")) -> Path:
    blocks = ["\n".join(f"{name}\t: {value}" for name, value in core.items()) for core in cores]
    tree.write("proc/cpuinfo", "\n\n".join(blocks))
    for number, size in enumerate(caches):
        tree.write(f"{CACHE}/index{number}/level", number + 1)
        tree.write(f"{CACHE}/index{number}/type", "Unified" if number else "Data")
        tree.write(f"{CACHE}/index{number}/size", size)
    read_processor.cache_clear()
    return tree.root


def test_a_processor_is_its_name_revision_caches_and_instruction_sets(tree: Tree) -> None:
    assert read_processor(machine(tree, MILAN, MILAN)) == (
        "AMD EPYC",
        "AuthenticAMD family 25 model 1 stepping 1",
        "L1d 32K, L2 512K",
        "avx avx2 bmi2 f16c fma pni ssse3",
    )


@pytest.mark.parametrize(
    "other",
    [GENOA, {**MILAN, "model": "17"}, {**MILAN, "stepping": "2"}, {**MILAN, "cpu family": "23"}],
)
def test_two_processors_of_one_name_are_two_machines(other: dict[str, str], tree: Tree) -> None:
    here = fingerprint.parts(machine(tree, MILAN))
    assert fingerprint.name_of(here) != fingerprint.name_of(fingerprint.parts(machine(tree, other)))


def test_another_cache_is_another_machine_and_the_same_files_are_the_same(tree: Tree) -> None:
    here = fingerprint.parts(machine(tree, MILAN))
    assert fingerprint.parts(machine(tree, MILAN)) == here
    assert fingerprint.parts(machine(tree, MILAN, caches=("32K", "1024K"))) != here


def test_features_that_do_not_matter_to_llama_cpp_leave_the_machine_the_same(tree: Tree) -> None:
    here = fingerprint.parts(machine(tree, MILAN))
    newer_kernel = {**MILAN, "flags": f"{MILAN['flags']} srso_no bus_lock_detect"}
    assert fingerprint.parts(machine(tree, newer_kernel)) == here


def test_arm_tells_its_revision_by_other_names_and_cores_of_two_kinds_are_both_told(tree: Tree) -> None:
    found = read_processor(machine(tree, GRAVITON, LITTLE, GRAVITON))
    assert found.revision == (
        "implementer 0x41 part 0xd40 variant 0x1 revision 1 + "
        "implementer 0x41 part 0xd46 variant 0x1 revision 1"
    )
    assert found.instruction_sets == "asimd asimddp asimdhp bf16 i8mm sve"


def test_without_files_the_parts_are_unknown_and_there_is_a_name_all_the_same(tree: Tree) -> None:
    found = read_processor(tree.root / "nothing")
    assert found.name
    assert found[1:] == ("", "", "")
