"""The package index of a build is what uv reads of the environment, without secrets."""

from __future__ import annotations

import pytest

from pytest_llm.builds import identity_of
from pytest_llm.builds.package_index import package_index
from pytest_llm.records import Commit, Release

RELEASE = Release("llama-cpp-python", "0.3.36")


@pytest.mark.parametrize(
    ("environ", "index"),
    [
        ({}, ()),
        (
            {"UV_DEFAULT_INDEX": "https://mirror.example/simple"},
            ("UV_DEFAULT_INDEX=https://mirror.example/simple",),
        ),
        (
            {"UV_INDEX_URL": "https://mirror.example/simple/"},
            ("UV_DEFAULT_INDEX=https://mirror.example/simple",),
        ),
        (
            {"UV_DEFAULT_INDEX": "https://user:secret@mirror.example/simple?token=secret#secret"},
            ("UV_DEFAULT_INDEX=https://mirror.example/simple",),
        ),
        (
            {"UV_INDEX": "cpu=https://a.example/cpu https://user@b.example/x/"},
            ("UV_INDEX=cpu=https://a.example/cpu https://b.example/x",),
        ),
        ({"UV_EXTRA_INDEX_URL": "https://a.example/cpu"}, ("UV_INDEX=https://a.example/cpu",)),
        (
            {"UV_FIND_LINKS": "/wheels,https://a.example/w", "UV_NO_INDEX": "1"},
            ("UV_FIND_LINKS=/wheels https://a.example/w", "UV_NO_INDEX=1"),
        ),
        ({"UV_NO_BINARY": "1"}, ("UV_NO_BINARY=1",)),
        ({"PIP_INDEX_URL": "https://a.example", "UV_CACHE_DIR": "/cache", "UV_OFFLINE": "1"}, ()),
    ],
)
def test_what_chooses_the_archive_of_a_release_is_named(
    environ: dict[str, str], index: tuple[str, ...]
) -> None:
    assert package_index(environ) == index
    assert "secret" not in str(index)


def test_another_index_is_another_build_of_a_release_and_not_of_a_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = Commit("llama-cpp-python", "0" * 40, "/llama.cpp")
    before = [identity_of(each).key for each in (RELEASE, commit)]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mirror.example/simple")
    after = [identity_of(each).key for each in (RELEASE, commit)]
    assert before[0] != after[0]
    assert before[1] == after[1]
