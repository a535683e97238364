"""The filter of system calls, run as the kernel runs it."""

from __future__ import annotations

import errno
import platform
import re
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_llm.system.sandbox import seccomp
from pytest_llm.system.sandbox.seccomp import OWN_PID, Instruction, compiled

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CONDITIONAL = ("clone", "kill", "tgkill", "prctl", "ioctl", "prlimit64")
OURS = 4321


def decide(
    machine: str,
    number: int,
    *arguments: int,
    architecture: int | None = None,
    program: list[Instruction] | None = None,
) -> int:
    """Return the error with which a call fails, 0 if it is allowed."""
    data = {0: number, 4: ARCHITECTURES[machine] if architecture is None else architecture}
    for index, value in enumerate((*arguments, *[0] * (6 - len(arguments)))):
        data[16 + 8 * index] = value & 0xFFFFFFFF
        data[20 + 8 * index] = value >> 32 & 0xFFFFFFFF
    program = program or _program(machine)
    at, held = 0, 0
    while True:
        code, yes, no, constant = program[at]
        constant = OURS if constant == OWN_PID else constant
        at += 1
        if code == 0x06:
            return 0 if constant == 0x7FFF0000 else constant & 0xFFFF
        if code == 0x20:
            held = data[constant]
            continue
        if code == 0x54:
            held &= constant
            continue
        holds = {
            0x15: held == constant,
            0x25: held > constant,
            0x35: held >= constant,
            0x45: bool(held & constant),
        }
        at += yes if holds[code] else no


def _program(machine: str) -> list[Instruction]:
    program = compiled(machine)
    assert program is not None
    return program


def _numbers(machine: str) -> dict[str, int]:
    return seccomp.numbers(machine)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_each_call_of_the_list_and_no_other_is_allowed(machine: str) -> None:
    numbers = _numbers(machine)
    for number in set(range(1000)) - {numbers[name] for name in CONDITIONAL} - {435}:
        unlisted = errno.EPERM if number <= 450 else errno.ENOSYS
        assert decide(machine, number) == (0 if number in numbers.values() else unlisted), number
    assert decide(machine, 435) == errno.ENOSYS  # clone3


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_another_architecture_and_of_x32_are_refused(machine: str) -> None:
    read = _numbers(machine)["read"]
    assert decide(machine, read, architecture=0x40000003) == errno.EPERM
    assert decide(machine, read | 0x40000000) == errno.ENOSYS


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (0x003D0F00,), True),  # pthread_create
        ("clone", (17,), False),  # fork
        ("clone", (0x4111,), False),  # vfork
        ("kill", (OURS, 6), True),
        ("kill", (OURS + 1, 0), False),
        ("kill", (0, 9), False),
        ("kill", (0xFFFFFFFF, 9), False),
        ("tgkill", (OURS, 5, 6), True),
        ("tgkill", (1, 1, 6), False),
        ("prctl", (15,), True),  # PR_SET_NAME
        ("prctl", (1, 0), False),
        ("prctl", (1 << 32 | 1, 0), False),  # the kernel drops the upper half
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0x40086602), False),
        ("ioctl", (0, 1 << 32 | 0x5412), False),
        ("prlimit64", (0, 7, 0, 1), True),
        ("prlimit64", (OURS, 7, 0, 1), True),
        ("prlimit64", (0, 7, 0x7FFF00000000, 0), False),
        ("prlimit64", (0, 7, 0x1000, 0), False),
        ("prlimit64", (1, 7, 0, 1), False),
    ],
)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], allowed: bool) -> None:
    assert decide(machine, _numbers(machine)[name], *arguments) == (0 if allowed else errno.EPERM)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_no_call_that_reaches_others_is_in_the_list(machine: str) -> None:
    reaching = "socket|connect|bind|sendto|execve|fork|ptrace|process_|pidfd|mount|unshare|setns|chroot|bpf"
    reaching += (
        "|perf_|keyctl|io_uring|chmod|chown|xattr|utime|mknod|setuid|setrlimit|shm|kexec|module|clone3"
    )
    assert {name for name in _numbers(machine) if re.search(reaching, name)} == {"mbind"}  # no address


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_jumps_stay_in_the_program_and_ranges_are_sorted(machine: str) -> None:
    program = _program(machine)
    assert len(program) < 4096  # BPF_MAXINSNS
    for at, each in enumerate(program):
        assert 0 <= each.yes < 256
        assert 0 <= each.no < 256
        if each.code != 0x06:
            assert at + 1 + max(each.yes, each.no) < len(program)
    firsts = [each.constant for each in program if each.code == 0x35]
    assert all(one < other for one, other in pairwise(firsts))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the headers are of this machine")
def test_the_numbers_are_those_of_the_headers_of_the_kernel() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the headers of the kernel are not installed")
    there = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text(encoding="utf-8")))
    ours = _numbers("x86_64")
    assert {name: int(there[name]) for name in ours} == ours


def test_another_machine_has_no_filter() -> None:
    assert compiled("riscv64") is None


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 298), ("aarch64", 241)])
def test_events_are_counted_where_that_is_asked_for_and_of_this_thread_alone(
    machine: str, number: int
) -> None:
    any_processor, another = 0xFFFFFFFF, 77
    assert decide(machine, number, 0, 0, any_processor) == errno.EPERM
    assert decide(machine, number, 0, 0, any_processor, program=compiled(machine, counts=True)) == 0
    for pid in (another, OURS, 0xFFFFFFFF):
        refused = decide(machine, number, 0, pid, any_processor, program=compiled(machine, counts=True))
        assert refused == errno.EPERM


SOCKETS = {
    "x86_64": {"socket": 41, "connect": 42, "bind": 49, "listen": 50, "accept4": 288, "sendto": 44},
    "aarch64": {"socket": 198, "connect": 203, "bind": 200, "listen": 201, "accept4": 242, "sendto": 206},
}
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, CLOSES = 1, 2, 0x80000


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(
    ("family", "others"), [(UNIX, (INET, INET6, NETLINK)), (INET, (UNIX, INET6, NETLINK))]
)
def test_a_server_listens_on_streams_of_its_family_and_connects_to_nothing(
    machine: str, family: int, others: tuple[int, ...]
) -> None:
    serving, calls = compiled(machine, family=family), SOCKETS[machine]
    for name in ("bind", "listen", "accept4", "sendto"):
        assert decide(machine, calls[name], program=serving) == 0, name
        assert decide(machine, calls[name]) == errno.EPERM, name
    assert decide(machine, calls["connect"], program=serving) == errno.EPERM
    assert decide(machine, calls["socket"], family, STREAM | CLOSES, program=serving) == 0
    assert decide(machine, calls["socket"], family, DATAGRAM, program=serving) == errno.EPERM
    for each in others:
        assert decide(machine, calls["socket"], each, STREAM, program=serving) == errno.EPERM
    assert decide(machine, calls["socket"], family, STREAM) == errno.EPERM
