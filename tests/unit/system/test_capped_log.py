"""Of a log, the beginning and the end are kept, and a mark stays where it was."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.system.capped_log import CappedLog

_GAP = re.compile(r"\n\[(\d+) bytes are left out\]\n")


@given(
    kept=st.integers(1, 20),
    pieces=st.lists(st.text("abc", max_size=30).map(str.encode)),
    share=st.floats(0, 1),
)
def test_what_is_kept_and_what_is_left_out_come_to_all(kept: int, pieces: list[bytes], share: float) -> None:
    log = CappedLog(kept)
    for each in pieces:
        log.append(each)
    written = b"".join(pieces)
    since = int(share * len(written))
    text = log.text(since)
    gap = _GAP.search(text)

    assert log.size == len(written)
    if gap:
        head, tail = text[: gap.start()], text[gap.end() :]
        assert written[since:].startswith(head.encode())
        assert written.endswith(tail.encode())
        assert len(head) + int(gap[1]) + len(tail) == len(written) - since
    else:
        assert text.encode() == written[since:]


def test_memory_is_bounded() -> None:
    log = CappedLog(1000)
    for _ in range(1000):
        log.append(b"x" * 1000)
    assert len(log.text()) < 2100
    assert len(log._head) + len(log._tail) < 4001
