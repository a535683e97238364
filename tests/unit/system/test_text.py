"""Text from outside is shown so that neither a terminal nor a CI runner obeys it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llm.system.text import (
    clean,
    clean_lines,
    is_plain,
    json_without_commands,
    markdown,
    one_line,
    quoted,
    visible,
)

OBEYED = re.compile(r"\A\s*::|##\[|##vso\[|##teamcity\[|::(?:error|stop-commands|add-mask)\b[^:]*::")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("Größe 中文 — ok", "Größe 中文 — ok"),
        ("\x1b]0;PWNED\x07\x1b[2J", r"\x1b]0;PWNED\x07\x1b[2J"),
        ("one\ntwo\r\n\tthree", "one two   three"),
        ("abc\u202etxt.exe", r"abc\u202etxt.exe"),
        ("\u2066a\u2069\ufeff\u200b", r"\u2066a\u2069\ufeff\u200b"),
        ("half \ud800", r"half \ud800"),
        ("a\x85b\u2028c\u3000d\xa0e", "a b c d e"),
        ("::error file=a.py::gone", ": :error file=a.py::gone"),
        ("  ::add-mask::e", "  : :add-mask::e"),
        ("all is well ::stop-commands::x", "all is well : :stop-commands::x"),
        ("##[add-mask]e", "# #[add-mask]e"),
        ("x ##vso[task.complete]", "x # #vso[task.complete]"),
        ("##teamcity[x]", "# #teamcity[x]"),
        ("tests/a.py::TestX::test_b[##]", "tests/a.py::TestX::test_b[##]"),
    ],
)
def test_what_would_be_obeyed_is_shown_instead(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(alphabet=st.sampled_from(list(":#[]ervso \x1b\nadt-mk\u202e")), max_size=40))
def test_nothing_is_obeyed_however_it_is_written(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert not OBEYED.search(shown)
    assert clean(shown) == shown


def test_a_long_text_keeps_both_ends() -> None:
    shown = clean("a" * 10_000_000 + "z", 40)
    assert len(shown) == 40
    assert shown.startswith("aaa")
    assert shown.endswith("az")


def test_hidden_characters_are_seen_wherever_they_stand() -> None:
    value = {"a\x07": ["\x1b", {"b": "##[x]\n\u3000\ud800"}, 1.5, None, True]}
    assert visible(value) == {r"a\x07": [r"\x1b", {"b": "##[x]\n\u3000" + r"\ud800"}, 1.5, None, True]}


def test_json_without_commands_is_the_same_json() -> None:
    value = {"##[x]": ["###", "a##vso[b]", "#"]}
    text = json_without_commands(json.dumps(value))
    assert "##" not in text
    assert json.loads(text) == value


def test_markdown_sees_plain_text() -> None:
    assert markdown("![x](http://a) <img src=x>\n# a | *b* `c` n_ctx=5 +6.5 % (+5.1 … +8.2 %)") == (
        r"!\[x\](http://a) \<img src=x> # a \| \*b\* \`c\` n_ctx=5 +6.5 % (+5.1 … +8.2 %)"
    )


def test_other_forms_are_cleaned_as_well() -> None:
    assert one_line("  a \n b\x1b ") == r"a b\x1b"
    assert quoted("a\n") == "'a '"
    assert clean_lines("a\n::error::b\r\nc") == "a\n: :error::b \nc"


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "a\x00", "\u202egpj", "\x9b1m", "\udcff"])
def test_a_name_with_hidden_characters_is_not_plain(name: str) -> None:
    assert not is_plain(name)


@pytest.mark.parametrize("name", ["a b", "Größe", "模型", "a\u3000b", "x\xa0y", "👩\u200d💻"])
def test_other_names_are(name: str) -> None:
    assert is_plain(name)
