"""Chat templates run in a sandbox: what they reach for is reported, and time and memory are limited."""

from __future__ import annotations

import signal
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.engines.llama_cpp_python.worker import templates, text
from pytest_llm.engines.llama_cpp_python.worker.bindings import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

jinja2 = pytest.importorskip("jinja2")

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
CHAT = (
    "{{ bos_token }}{% for message in messages %}\n"
    "    {% if message['role'] == 'tool' %}{% continue %}{% endif %}\n"
    "<{{ message.role }}>{{ message.content | trim }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def render(template: str) -> str:
    return templates.render(template, "hello", SPECIAL)


def test_a_template_is_rendered_as_its_author_meant_it() -> None:
    assert render(CHAT) == "<s><user>hello</s>\n<assistant>"


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    assert render("{{ 'a\\ud800b' }}") == "a?b"
    with pytest.raises(RefusedError, match=r"ValueError: a\?b"):
        render("{{ raise_exception('a\\ud800b') }}")


def test_the_day_never_changes() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}") == "01 Jan 2025"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{% if messages.__class__ %}used for nothing{% endif %}",
        "{{ messages['__class__'] }}",
        "{{ messages | map(attribute='__class__') | list }}",
        "{{ '' | attr('__class__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    ],
)
def test_a_template_that_reaches_for_attributes_is_reported_by_name(template: str) -> None:
    with pytest.raises(templates.UnsafeError, match="reaches for the attribute '__class__' of"):
        render(template)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ lipsum.__globals__ }}", "'__globals__' of function"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "'__init__' of type"),
        ("{{ messages.append(1) }}", "'append' of list"),
    ],
)
def test_the_ways_out_that_are_known_are_closed(template: str, reason: str) -> None:
    with pytest.raises(templates.UnsafeError, match=reason):
        render(template)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system\nmessage') }}", "ValueError: no system message"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "Error"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{{ 'x' * 10**9 }}", "a product of more than 1048576 elements"),
        ("{{ 10**9 * [1] }}", "a product of more than 1048576 elements"),
        ("{{ 10**(10**10) }}", "a power of more than 4096 bits"),
        ("{% for _ in range(99999) %}{{ 'x' * 99 }}{% endfor %}", "renders more than 131072 characters"),
        ("x" * (2**20 + 1), "has more than 1048576 bytes"),
    ],
)
def test_a_broken_or_greedy_template_is_refused_on_one_line(template: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        render(template)
    assert caught.value.kind == "uncovered"
    assert str(caught.value).startswith("the chat template is not rendered: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for _ in range(99999) %}{% for _ in range(99999) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x=3) %}{% for _ in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    ],
)
def test_a_template_that_never_ends_is_ended(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(RefusedError, match=r"it takes more than 0\.2 s"):
        render(template)
    assert time.monotonic() - started < 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux alone")
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' | center(10**9) }}",
        "{{ '%999999999d' % 1 }}",
        "{% set n = namespace(x='xxxxxxxx') %}{% for _ in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    ],
)
def test_a_template_that_takes_memory_is_refused_and_gives_it_back(template: str) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(RefusedError, match="it takes more than 256 MiB"):
        render(template)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize("version", ["3.1.5", "2.11.3", "3.1"])
def test_an_older_jinja2_is_not_covered_and_named(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja2, "__version__", version)
    with pytest.raises(RefusedError, match=rf"jinja2 {version}, whose sandbox has holes: install") as caught:
        render(CHAT)
    assert caught.value.kind == "uncovered"


@pytest.mark.parametrize("version", ["3.1.6", "3.1.10", "4.0", "3.2.0rc1"])
def test_a_newer_jinja2_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja2, "__version__", version)
    assert render("{{ 1 }}") == "1"


def test_no_jinja2_is_not_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(RefusedError, match="has no jinja2: install") as caught:
        render(CHAT)
    assert caught.value.kind == "uncovered"


def subject(template: str, known: str) -> Any:
    """Return a subject with a template, and what llama.cpp makes of it, "" if it does not know it."""

    class Llama(SimpleNamespace):
        def llama_chat_message(self, **fields: bytes) -> Any:
            import ctypes

            class Message(ctypes.Structure):
                _fields_ = (("role", ctypes.c_char_p), ("content", ctypes.c_char_p))

            return Message(**fields)

        def llama_model_chat_template(self, *_: object) -> bytes:
            return template.encode()

        def llama_chat_apply_template(
            self, _template: bytes, _message: Any, _count: int, _add: bool, buffer: Any, _size: int
        ) -> int:
            buffer.value = known.encode()
            return len(known) or -1

    bindings = SimpleNamespace(renders_templates=True, has=lambda _: True, meta=lambda *_: "")
    return SimpleNamespace(llama=Llama(), model=None, bindings=bindings, n_vocabulary=3)


CHOICES: list[tuple[Callable[[], Any], str]] = [
    (lambda: subject(CHAT, "known"), "known"),
    (lambda: subject("{% broken", "known"), "known"),
    (lambda: subject(CHAT, ""), "<user>hello\n<assistant>"),
    (lambda: subject("", ""), ""),
]


@pytest.mark.parametrize(("make", "expected"), CHOICES)
def test_a_template_that_llama_cpp_does_not_know_is_rendered_by_jinja2(
    make: Callable[[], Any], expected: str
) -> None:
    assert text.render_chat(make(), "hello") == expected


@pytest.mark.parametrize("known", ["", "known"])
def test_an_unsafe_template_is_reported_whatever_llama_cpp_makes_of_it(known: str) -> None:
    with pytest.raises(RefusedError, match="reaches for the attribute '__class__' of str") as caught:
        text.render_chat(subject("{{ ''.__class__ }}", known), "hello")
    assert caught.value.kind == "uncovered"


def test_a_template_that_nothing_renders_is_not_covered() -> None:
    with pytest.raises(RefusedError, match="the chat template is not rendered: Template"):
        text.render_chat(subject("{% broken", ""), "hello")
