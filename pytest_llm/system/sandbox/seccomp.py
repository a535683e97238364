"""The system calls of a process that computes, as a seccomp filter in classic BPF.

What is not in the list fails: with EPERM if the call was known when the list was made, with ENOSYS, as on an
older kernel, if it is newer, so that libraries fall back.
"""

from __future__ import annotations

import errno
import platform
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# A constant in whose place the process puts its own id, which is not known before it runs.
OWN_PID = -1


class Instruction(NamedTuple):
    """One ``struct sock_filter``; ``yes`` and ``no`` are how many instructions a comparison skips."""

    code: int
    yes: int
    no: int
    constant: int


class _Machine(NamedTuple):
    audit_name: int  # AUDIT_ARCH_*
    column: int  # in the table
    execve: int
    perf_event_open: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0, 59, 298), "aarch64": _Machine(0xC00000B7, 1, 221, 241)}

# Name, number on x86_64, number on aarch64.
_ALLOWED = (
    # Files and folders; Landlock says which.
    """
    read:0:63 write:1:64 open:2:- openat:257:56 openat2:437:437 creat:85:- close:3:57
    close_range:436:436 stat:4:- fstat:5:80 lstat:6:- newfstatat:262:79 statx:332:291 access:21:-
    faccessat:269:48 faccessat2:439:439 lseek:8:62 pread64:17:67 pwrite64:18:68 readv:19:65 writev:20:66
    preadv:295:69 pwritev:296:70 preadv2:327:286 pwritev2:328:287 sendfile:40:71 copy_file_range:326:285
    splice:275:76 tee:276:77 vmsplice:278:75 readahead:187:213 fadvise64:221:223 fallocate:285:47
    truncate:76:45 ftruncate:77:46 fsync:74:82 fdatasync:75:83 sync_file_range:277:84 syncfs:306:267
    flock:73:32 fcntl:72:25 ioctl:16:29 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59
    getdents:78:- getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82:- renameat:264:38
    renameat2:316:276 mkdir:83:- mkdirat:258:34 rmdir:84:- link:86:- linkat:265:37 unlink:87:-
    unlinkat:263:35 symlink:88:- symlinkat:266:36 readlink:89:- readlinkat:267:78 umask:95:166
    statfs:137:43 fstatfs:138:44 memfd_create:319:279 io_setup:206:0 io_destroy:207:1 io_getevents:208:4
    io_submit:209:2 io_cancel:210:3 io_pgetevents:333:292
    """,
    # Memory.
    """
    mmap:9:222 munmap:11:215 mprotect:10:226 mremap:25:216 msync:26:227 mincore:27:232 madvise:28:233
    brk:12:214 mlock:149:228 munlock:150:229 mlockall:151:230 munlockall:152:231 mlock2:325:284
    mbind:237:235 get_mempolicy:239:236 set_mempolicy:238:237 set_mempolicy_home_node:450:450
    pkey_alloc:330:289 pkey_free:331:290 pkey_mprotect:329:288 membarrier:324:283
    """,
    # Waiting, clocks and timers.
    """
    poll:7:- ppoll:271:73 select:23:- pselect6:270:72 epoll_create:213:- epoll_create1:291:20
    epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:-
    eventfd2:290:19 signalfd:282:- signalfd4:289:74 timerfd_create:283:85 timerfd_settime:286:86
    timerfd_gettime:287:87 nanosleep:35:101 clock_nanosleep:230:115 clock_gettime:228:113
    clock_getres:229:114 gettimeofday:96:169 time:201:- times:100:153 alarm:37:- getitimer:36:102
    setitimer:38:103 timer_create:222:107 timer_settime:223:110 timer_gettime:224:108
    timer_getoverrun:225:109 timer_delete:226:111 pause:34:- futex:202:98 futex_waitv:449:449
    restart_syscall:219:128
    """,
    # Threads of this process; more of clone and prlimit64 below.
    """
    clone:56:220 prlimit64:302:261 prctl:157:167 arch_prctl:158:- set_tid_address:218:96
    set_robust_list:273:99 get_robust_list:274:100 rseq:334:293 gettid:186:178 exit:60:93
    exit_group:231:94 sched_yield:24:124 sched_getaffinity:204:123 sched_setaffinity:203:122
    sched_getparam:143:121 sched_getscheduler:145:120 sched_getattr:315:275
    sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_rr_get_interval:148:127
    getcpu:309:168 wait4:61:260 waitid:247:95
    """,
    # Signals of its own.
    """
    rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136
    rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 kill:62:129 tgkill:234:131
    """,
    # What it is, and what machine this is.
    """
    getpid:39:172 getppid:110:173 getpgrp:111:- getpgid:121:155 getsid:124:156 getuid:102:174
    geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148 getresgid:120:150 getgroups:115:158
    getrlimit:97:163 getrusage:98:165 getpriority:140:141 ioprio_get:252:31 capget:125:90 uname:63:160
    sysinfo:99:179 getrandom:318:278
    """,
)
# Of a process that serves, on top: it listens, and takes what comes in. It connects to nothing.
_SERVING = """
    bind:49:200 listen:50:201 accept:43:202 accept4:288:242 getsockname:51:204 getpeername:52:205
    setsockopt:54:208 getsockopt:55:209 sendto:44:206 recvfrom:45:207 sendmsg:46:211 recvmsg:47:212
    shutdown:48:210 socket:41:198
    """
_LAST = 450  # the list was made of Linux 6.0's calls
_CLONE3 = 435  # its flags are in memory, which no filter sees; libraries fall back to clone

# Conditions on arguments, by call. Numbers are the same on both machines.
_CLONE_THREAD = 0x00010000
_SOCKET_TYPE, _SOCK_STREAM = 0xF, 1
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
# FS_IOC_SETFLAGS and its 32-bit twin, FS_IOC_FSSETXATTR: also of files that are open for reading. TIOCSTI.
_IOCTLS = (0x40086602, 0x40046602, 0x401C5820, 0x5412)

_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_GREATER, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x25, 0x35, 0x45
_ALLOW = Instruction(_RETURN, 0, 0, 0x7FFF0000)
_REFUSE = Instruction(_RETURN, 0, 0, 0x00050000 | errno.EPERM)
_UNKNOWN = Instruction(_RETURN, 0, 0, 0x00050000 | errno.ENOSYS)

_OF_THIS_THREAD = [Instruction(_LOAD, 0, 0, _ARGUMENTS + 8), Instruction(_IF_EQUAL, 0, 1, 0), _ALLOW, _REFUSE]


def compiled(
    machine: str = "", *, becomes: bool = False, counts: bool = False, family: int = 0
) -> list[Instruction] | None:
    """Return the filter; None for a machine that the list does not know.

    Args:
        machine: As ``uname -m`` names it; "" is this one.
        becomes: The process becomes another program; which one, Landlock says.
        counts: It counts its own events, such as instructions.
        family: Of the sockets that it serves on, such as AF_UNIX; 0 if it serves nothing.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        return None
    known, allowed = _MACHINES[machine], numbers(machine)
    if becomes:
        allowed["execve"] = known.execve
    program = [
        *(_load(_ARCHITECTURE), Instruction(_IF_EQUAL, 1, 0, known.audit_name), _REFUSE, _load(_NUMBER)),
        *(Instruction(_IF_GREATER, 0, 1, _LAST), _UNKNOWN, Instruction(_IF_EQUAL, 0, 1, _CLONE3), _UNKNOWN),
    ]
    blocks = _conditions()
    if counts:
        allowed["perf_event_open"] = known.perf_event_open
        blocks["perf_event_open"] = _OF_THIS_THREAD
    if family:
        allowed |= _read_numbers([_SERVING], known.column)
        blocks["socket"] = _streams_of(family)
    for name, block in blocks.items():
        program += [Instruction(_IF_EQUAL, 0, len(block), allowed.pop(name)), *block]
    for first, last in _ranges(sorted(allowed.values())):
        program += [Instruction(_IF_AT_LEAST, 1, 0, first), _REFUSE]
        program += [Instruction(_IF_GREATER, 1, 0, last), _ALLOW]
    return [*program, _REFUSE]


def _conditions() -> dict[str, list[Instruction]]:
    own = [_load(_argument(0)), Instruction(_IF_EQUAL, 0, 1, OWN_PID), _ALLOW, _REFUSE]
    return {
        "clone": [_load(_argument(0)), Instruction(_IF_ANY_BIT, 0, 1, _CLONE_THREAD), _ALLOW, _REFUSE],
        "kill": own,
        "tgkill": own,
        "prctl": _none_of(0, (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE)),
        "ioctl": _none_of(1, _IOCTLS),
        # It reads its own limits, and sets none.
        "prlimit64": [
            *(_load(_argument(0)), Instruction(_IF_EQUAL, 1, 0, 0), Instruction(_IF_EQUAL, 0, 4, OWN_PID)),
            *(_load(_argument(2)), Instruction(_IF_EQUAL, 0, 2, 0)),
            *(_load(_argument(2) + 4), Instruction(_IF_EQUAL, 1, 0, 0), _REFUSE, _ALLOW),
        ],
    }


def _streams_of(family: int) -> list[Instruction]:
    """Datagrams could be sent anywhere without a connection."""
    return [
        *(_load(_argument(0)), Instruction(_IF_EQUAL, 0, 4, family), _load(_argument(1))),
        *(Instruction(_AND, 0, 0, _SOCKET_TYPE), Instruction(_IF_EQUAL, 0, 1, _SOCK_STREAM), _ALLOW, _REFUSE),
    ]


def _none_of(argument: int, refused: Sequence[int]) -> list[Instruction]:
    found = [each for value in refused for each in (Instruction(_IF_EQUAL, 0, 1, value), _REFUSE)]
    return [_load(_argument(argument)), *found, _ALLOW]


def _load(offset: int) -> Instruction:
    return Instruction(_LOAD, 0, 0, offset)


def _argument(number: int) -> int:
    """Return the offset of an argument's lower half; both machines are little-endian."""
    return _ARGUMENTS + 8 * number


def numbers(machine: str) -> dict[str, int]:
    """Return the calls of the list by name, with their numbers on a machine."""
    return _read_numbers(_ALLOWED, _MACHINES[machine].column)


def _read_numbers(groups: Iterable[str], column: int) -> dict[str, int]:
    rows = [entry.split(":") for group in groups for entry in group.split()]
    return {name: int(each[column]) for name, *each in rows if each[column] != "-"}


def _ranges(calls: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = calls[0]
    for number in calls[1:]:
        if number > last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
