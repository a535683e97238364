"""What the contract suite reads out of headers, and what it calls a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llm.suite.contract import headers
from pytest_llm.suite.contract.headers import HeadersError, Layout, Place
from pytest_llm.suite.contract.layouts import differences, unusual_defaults

if TYPE_CHECKING:
    from pathlib import Path

HEADER = """
// struct llama_it { not this one; };
struct llama_it;
typedef struct llama_it {
    int32_t n_ctx; // tokens; of text
    /* bool gone; */
    const struct llama_other * const * others, * more;
#ifdef SOMETHING
    char key[128];
#endif
    bool (*backend_init)(
        struct llama_it * it, uint32_t n);
    union {
        int64_t val_i64;
        struct { double low; double high; };
    };
    enum llama_kind kind;
} llama_it;
struct llama_it_too { int other; };
"""


def test_the_fields_of_a_struct_are_read_in_order_without_comments() -> None:
    expected = ["n_ctx", "others", "more", "key", "backend_init", "val_i64", "low", "high", "kind"]
    assert headers.fields_of(HEADER, "llama_it") == expected


def test_a_struct_that_is_only_declared_has_no_fields() -> None:
    assert headers.fields_of(HEADER, "llama_other") == []


LAYOUT = Layout(16, {"a": Place(0, 4), "b": Place(4, 4), "c": Place(8, 8)})


def field(name: str, offset: int, size: int, *inner: list[object]) -> list[object]:
    return [name, offset, size, list(inner)]


def test_equal_layouts_have_no_differences() -> None:
    assert differences("s", [field("a", 0, 4), field("b", 4, 4), field("c", 8, 8)], 16, LAYOUT) == []


@pytest.mark.parametrize(
    ("fields", "size", "told"),
    [
        (
            [field("a", 0, 4), field("c", 8, 8)],
            16,
            ["s.b: the binding lacks it, the headers have it after a"],
        ),
        (
            [field("a", 0, 4), field("new", 4, 4), field("b", 8, 4), field("c", 16, 8)],
            24,
            [
                "s.new: the headers have no such field",
                "s.b lies at byte 8, in the headers at 4; 1 behind it lie elsewhere, too",
                "s takes 24 bytes, in the headers 16",
            ],
        ),
        (
            [field("a", 0, 4), field("b", 4, 1), field("c", 8, 8)],
            16,
            ["s.b takes 1 bytes, in the headers 4"],
        ),
    ],
    ids=["lacking", "inserted", "narrow"],
)
def test_a_difference_is_told_by_field(fields: list[list[object]], size: int, told: list[str]) -> None:
    assert differences("s", fields, size, LAYOUT) == told


def test_a_union_with_a_name_is_an_anonymous_one_in_c() -> None:
    fields = [field("a", 0, 4), field("value", 4, 12, field("b", 4, 4), field("c", 8, 8))]
    assert differences("s", fields, 16, LAYOUT) == []


def test_a_default_is_strange_when_it_is_none_of_those_there_have_been() -> None:
    expected = {"n_ctx": (512,), "yarn": (1, -1), "not_in_this_release": (0,)}
    assert unusual_defaults({"n_ctx": 512, "yarn": -1.0, "unknown": 7}, expected) == []
    assert unusual_defaults({"n_ctx": 0, "yarn": 32.0}, expected) == [
        "n_ctx is 0, expected 512",
        "yarn is 32, expected 1 or -1",
    ]


def test_without_headers_the_reason_says_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(HeadersError, match=f"the build has no llama.h, looked for in {tmp_path}"):
        headers.find_header([tmp_path])


def test_without_a_compiler_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "nobodys-compiler")
    with pytest.raises(HeadersError, match=r"there is no C compiler \(nobodys-compiler, cc, gcc, clang\)"):
        headers.compiler()
