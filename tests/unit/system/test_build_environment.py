"""Which variables reach what makes builds."""

from __future__ import annotations

import pytest

from pytest_llm.system import build_environment
from pytest_llm.system.build_environment import FETCHING, NEEDED, PIP, PLACES, building, fetching, listing

SECRETS = (
    *("GITHUB_TOKEN", "GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "OPENAI_API_KEY"),
    *("ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SSH_AUTH_SOCK", "DOCKER_AUTH_CONFIG"),
    *("UV_PUBLISH_TOKEN", "UV_PUBLISH_PASSWORD", "TWINE_PASSWORD", "PYTEST_ADDOPTS", "PYTHONSTARTUP"),
    *("LLAMA_CLOUD_API_KEY", "NVIDIA_API_KEY", "CMAKE_SECRET", "GIT_ASKPASS", "CCACHE_REMOTE_STORAGE"),
    *("CI_JOB_TOKEN", "NPM_TOKEN", "KUBECONFIG", "VAULT_TOKEN", "PGPASSWORD", "XDG_RUNTIME_DIR"),
    *("UV_INDEX_MINE_PASSWORD_OLD", "MY_UV_INDEX_MINE_PASSWORD", "uv_index_mine_password"),
)
ALL = {name: f"value of {name}" for name in (*SECRETS, *NEEDED, *FETCHING, *PIP)}


def test_no_secret_reaches_any_step() -> None:
    for passed in (building(ALL), fetching(ALL), listing(ALL)):
        assert set(passed).isdisjoint(SECRETS)


def test_a_step_that_compiles_gets_nothing_that_is_only_for_fetching() -> None:
    assert set(building(ALL)) == set(NEEDED)
    assert set(fetching(ALL)) == {*NEEDED, *FETCHING}
    assert set(listing(ALL)) == {*NEEDED, *FETCHING, *PIP}


def test_credentials_of_an_index_reach_the_step_that_fetches_alone() -> None:
    given = {
        "UV_INDEX_MINE_USERNAME": "me",
        "UV_INDEX_MINE_PASSWORD": "hunter2",
        "UV_DEFAULT_INDEX": "https://me:hunter2@one.example/simple/",
        "UV_INDEX": "mine=https://me:hunter2@two.example/x/?token=hunter2 https://three.example/y/",
        "UV_FIND_LINKS": "/wheels,https://hunter2@four.example/z",
        "NETRC": "/home/me/hunter2",
    }
    assert fetching(given) == given
    assert building(given) == {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "mine=https://two.example/x https://three.example/y/",
        "UV_FIND_LINKS": "/wheels,https://four.example/z",
    }


def test_the_user_names_further_variables() -> None:
    given = {"PYTEST_LLM_BUILD_PASS": "MY_SDK_* OTHER", "MY_SDK_ROOT": "1", "OTHER": "2", "OTHERS": "3"}
    assert building(given) == {"MY_SDK_ROOT": "1", "OTHER": "2"}


def test_credentials_reach_no_build_even_if_a_pattern_names_them() -> None:
    given = {
        "PYTEST_LLM_BUILD_PASS": "*",
        "LLAMA_CLOUD_API_KEY": "x",
        "MY_SDK": "ghp_0123456789abcdefgh",
        "OTHER": "2",
    }
    assert set(building(given)) & given.keys() == {"OTHER", "PYTEST_LLM_BUILD_PASS"}


def test_every_name_is_exact_and_has_a_reason() -> None:
    for names in (NEEDED, PLACES, FETCHING, PIP):
        for name, reason in names.items():
            assert name.isidentifier()
            assert reason


@pytest.mark.parametrize(("value", "allowed"), [("on", True), ("1", True), ("", False), ("off", False)])
def test_the_user_may_let_compilations_use_the_network(value: str, *, allowed: bool) -> None:
    assert build_environment.may_use_network({"PYTEST_LLM_BUILD_NETWORK": value}) is allowed
    assert not build_environment.may_use_network({})
