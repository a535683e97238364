"""Variables that look like credentials."""

from __future__ import annotations

import pytest

from pytest_llm.engines.environment import NEEDED, PASS, SPEED, not_passed, passed, recorded, refused
from pytest_llm.system.credentials import looks_secret


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLAMA_CLOUD_API_KEY", "x"),
        ("NVIDIA_API_KEY", "x"),
        ("HF_TOKEN", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_SESSION_TOKEN", "x"),
        ("LLAMA_TOKEN", "1"),  # a number may be a password
        ("DB_PASSWORD", "1234"),
        ("GGML_FORK_CREDENTIALS_FILE", "/x"),
        ("LLAMA_APIKEY", "x"),
        ("llama_token", "x"),
        ("GGML_FORK", "ghp_0123456789abcdef0123"),
        ("GGML_FORK", "sk-proj-0123456789abcdefgh"),
        ("GGML_FORK", "AKIAIOSFODNN7EXAMPLE"),
        ("GGML_FORK", "hf_abcdefghijklmnop"),
        ("GGML_FORK", "nvapi-abcdefghijklmnop"),
        ("GGML_FORK", "llx-abcdefghijklmnop"),
        ("GGML_FORK", "https://me:password@example.org/"),
        ("GGML_FORK", "a=1;b=eyJhbGciOiJI.eyJzdWIi"),
        ("GGML_FORK", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("GGML_FORK", "Zx8fK2l0aPq9Rt7Yb3Wn5Vm1"),
        ("GGML_FORK", "57a9d123457a9d123457a9d12345e7a9d12c45f7"),
    ],
)
def test_credentials_are_seen(name: str, value: str) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GGML_FORK_TOKEN_BATCH", "512"),
        ("GGML_FORK_TOKEN_SECONDS", "0.008680555555555556"),
        ("LLAMA_KEY_CACHE", "on"),
        ("LLAMA_KEYBOARD", "german"),
        ("GGML_MONKEY", "x"),
        ("GGML_FORK", "/home/me/llama.cpp/build-2024-11-28-release/bin"),
        ("GGML_FORK", "blk.1.ffn_up=CPU,blk.2.ffn_down=CPU"),
        ("GGML_FORK", "decode:3=SIGSEGV"),
        ("GGML_FORK", "57a9d1234"),
        ("GGML_FORK", "/opt/glibc-custom-build/lib:/home/me/risk-adjusted-library/lib"),
        ("GGML_FORK", "/srv/hf_transfers_cache/sk-learn-extra-tools:/opt/npm_packages_of_mine"),
        ("GGML_FORK", "https://example.org/models"),
        ("GGML_FORK", ""),
    ],
)
def test_settings_are_none(name: str, value: str) -> None:
    assert not looks_secret(name, value)


@pytest.mark.parametrize("name", sorted({**NEEDED, **SPEED}))
def test_no_name_of_the_lists_is_refused_for_its_name(name: str) -> None:
    assert passed({name: "/opt/folder-of-build-57a9d123457a9d123457a9d123457a9d1234"}) == [name]


def test_credentials_are_neither_passed_nor_recorded_whatever_asks_for_them() -> None:
    environment = {
        "LLAMA_CLOUD_API_KEY": "x",
        "NVIDIA_API_KEY": "x",
        "GGML_CUDA_DEVICES": "ghp_0123456789abcdef0123",  # of the list, and pasted into the wrong line
        "GGML_FORK_A": "1",
        PASS: "LLAMA_* NVIDIA_* GGML_*",
    }
    assert passed(environment) == ["GGML_FORK_A"]
    assert refused(environment) == ["GGML_CUDA_DEVICES", "LLAMA_CLOUD_API_KEY", "NVIDIA_API_KEY"]
    assert not_passed(environment) == []
    assert recorded(environment) == {"GGML_FORK_A": "1"}


def test_credentials_that_nobody_asks_for_are_among_what_is_not_passed() -> None:
    environment = {"LLAMA_CLOUD_API_KEY": "x", "NVIDIA_API_KEY": "x"}
    assert not_passed(environment) == ["LLAMA_CLOUD_API_KEY"]
    assert refused(environment) == []
    assert recorded(environment) == {}
