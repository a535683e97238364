"""URLs of prebuilt archives."""

from __future__ import annotations

import sysconfig

import pytest

from pytest_llm.builds.archive_url import DEFAULT, url_of
from pytest_llm.errors import UsageError
from pytest_llm.plugin.options import OPTIONS


@pytest.mark.parametrize(
    ("python", "called"),
    [
        ("linux-x86_64", "ubuntu-x64"),
        ("linux-aarch64", "ubuntu-arm64"),
        ("macosx-14.0-arm64", "macos-arm64"),
        ("macosx-10.9-x86_64", "macos-x64"),
    ],
)
def test_the_default_is_upstream_s_archive_for_this_platform(
    python: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: python)
    expected = (
        f"https://github.com/ggml-org/llama.cpp/releases/download/b11434/llama-b11434-bin-{called}.tar.gz"
    )
    assert url_of(DEFAULT, "b11434") == expected


def test_the_option_has_the_same_default() -> None:
    (option,) = (each for each in OPTIONS if each.name == "llm_archive_url")
    assert option.default == DEFAULT


def test_a_pattern_without_a_platform_serves_every_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-riscv64")
    assert url_of("http://127.0.0.1:1/{tag}/mine.zip", "v0.5.0") == "http://127.0.0.1:1/v0.5.0/mine.zip"
    with pytest.raises(UsageError, match=r"no archives for linux-riscv64 .* write yours in llm_archive_url"):
        url_of(DEFAULT, "b11434")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("https://example.org/llama.tar.gz", r"must hold \{tag\}"),
        ("https://example.org/{tag}-{version}.zip", "may hold {platform} alone"),
        ("https://example.org/{tag}.7z", r"ends in \.tar\.gz, \.tgz, \.zip"),
        ("file:///tmp/{tag}.zip", "must be a URL"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_by_its_option(pattern: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^llm_archive_url: .*{reason}"):
        url_of(pattern, "b11434")


@pytest.mark.parametrize(
    "pattern", ["https://me:hush@example.org/{tag}.zip", "https://x.org/{tag}?hush=.zip"]
)
def test_a_secret_in_a_pattern_is_refused_without_being_shown(pattern: str) -> None:
    with pytest.raises(UsageError, match="holds a password or a query") as caught:
        url_of(pattern, "b11434")
    assert "hush" not in str(caught.value)
