"""Descriptions of sandboxes: paths, limits, environment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from pytest_llm.engines.llama_cpp_python.worker import interpreter
from pytest_llm.system import sandbox
from pytest_llm.system.sandbox import Policy, Sandbox, SandboxMode, kernel, paths, take_file
from pytest_llm.system.start_size import padded_environment

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux locks processes in")


@linux
def test_a_process_gets_folders_of_its_own_and_they_are_removed(tmp_path: Path) -> None:
    made = Sandbox(Policy(), "a build", {"HOME": str(tmp_path), "PATH": "/bin", "LANG": "C"}, ["/a/model"])
    environment, description = made.environment(), json.loads(made.description())
    folder = str(made.folder)

    assert {environment[name] for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")} == {folder}
    assert environment["LANG"] == "C"
    assert environment["PATH"] == "/bin"  # an interpreter may be a script that starts the real one
    assert environment["PYTHONUSERBASE"] == f"{tmp_path}/.local"
    assert folder in description["write"]
    assert "/a/model" in description["read"]
    assert str(tmp_path) not in description["read"]
    (Path(folder) / "left").mkdir()
    made.close()
    made.close()
    assert not Path(folder).exists()


def test_without_a_sandbox_a_process_has_the_environment_as_it_is_and_dumps_no_core(tmp_path: Path) -> None:
    made = Sandbox(Policy("off"), "a build", {"HOME": str(tmp_path)})
    assert made.environment() == padded_environment({"HOME": str(tmp_path)})
    assert json.loads(made.description()) == {"environment": {}, "limits": {"CORE": 1}}
    assert made.options() == []
    assert made.folder is None


@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_variable_that_one_side_of_a_pair_alone_has_is_set_once_its_process_runs(mode: SandboxMode) -> None:
    plain, other = (
        Sandbox(Policy(mode), "a build", {"PATH": "/bin", **more})
        for more in ({}, {"LLAMA_CPP_LIB_PATH": "/a/library"})
    )
    try:
        assert plain.environment().keys() == other.environment().keys()
        assert json.loads(plain.description())["environment"] == {}
        assert json.loads(other.description())["environment"] == {"LLAMA_CPP_LIB_PATH": "/a/library"}
    finally:
        plain.close()
        other.close()


@linux
def test_limits_are_those_of_the_machine_and_memory_has_none_on_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def limits() -> dict[str, int]:
        made = Sandbox(Policy(), "a build", {})
        try:
            found: dict[str, int] = json.loads(made.description())["limits"]
            return found
        finally:
            made.close()

    monkeypatch.setattr(paths, "devices", lambda environment: [])
    assert set(limits()) == {"CORE", "CPU", "NOFILE", "FSIZE", "DATA"}
    assert limits()["DATA"] >= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    monkeypatch.setattr(paths, "devices", lambda environment: ["/dev/nvidia0"])
    assert set(limits()) == {"CORE", "CPU", "NOFILE", "FSIZE"}


@linux
def test_what_gpus_compile_is_stored_by_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "devices", lambda environment: ["/dev/nvidia0"])
    one, again, other = (Sandbox(Policy(cache=tmp_path), name, {}) for name in ("a", "a", "b"))
    try:
        where = [each.environment()["CUDA_CACHE_PATH"] for each in (one, again, other)]
        assert where[0] == where[1] != where[2]
        assert Path(where[0]).is_relative_to(tmp_path / "compiled")
        assert where[0] in json.loads(one.description())["write"]
        assert str(tmp_path) not in json.loads(one.description())["write"]
        assert "/dev/nvidia0" in json.loads(one.description())["devices"]
    finally:
        for each in (one, again, other):
            each.close()


def test_devices_are_given_unless_a_variable_hides_them(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "kfd", "sda", "kmsg"):
        (tmp_path / name).touch()
    (tmp_path / "dri").mkdir()

    def given(**environment: str) -> list[str]:
        return [Path(each).name for each in paths.devices(environment, tmp_path)]

    assert given() == ["dri", "kfd", "nvidia-uvm", "nvidia0", "nvidiactl"]
    assert given(CUDA_VISIBLE_DEVICES="1") == given()
    assert given(CUDA_VISIBLE_DEVICES="") == ["dri", "kfd"]
    assert given(CUDA_VISIBLE_DEVICES="-1", ROCR_VISIBLE_DEVICES="") == ["dri"]


def test_libraries_are_read_where_variables_name_them_and_where_links_lead(tmp_path: Path) -> None:
    home, build, elsewhere = (tmp_path / name for name in ("home", "home/build", "elsewhere"))
    for folder in (home, build, elsewhere):
        folder.mkdir(exist_ok=True)
    (elsewhere / "libllama.so.0").touch()
    (home / "libown.so").touch()
    (home / "secret").touch()
    (build / "libllama.so").symlink_to(elsewhere / "libllama.so.0")
    driver = tmp_path / "icd.json"
    driver.write_text(json.dumps({"ICD": {"library_path": str(elsewhere / "libvulkan_x.so")}}))

    found = paths.libraries(
        {
            "LD_LIBRARY_PATH": f"{build}:{home}:{tmp_path}:",
            "LD_PRELOAD": f"libtcmalloc.so {elsewhere}/malloc.so",
            "VK_DRIVER_FILES": str(driver),
        },
        [],
        [str(home)],
    )

    assert found.listed == [str(tmp_path), str(home)]  # as they hold what is kept
    assert set(found.read) == {
        str(build),
        str(home / "libown.so"),
        str(elsewhere / "libllama.so.0"),
        str(elsewhere / "malloc.so"),
        str(elsewhere / "libvulkan_x.so"),
        str(driver),
    }


@pytest.mark.parametrize(
    ("version", "filters", "lacking"),
    [
        (7, True, ""),
        (3, True, ""),
        (2, True, "only version 2 of Landlock"),
        (0, True, "no Landlock"),
        (7, False, "no usable seccomp"),
        (0, False, "no Landlock and no usable seccomp"),
    ],
)
def test_what_a_kernel_lacks_is_told(version: int, filters: bool, lacking: str) -> None:
    assert kernel.Support(version, filters).lacking == lacking


def test_the_mode_is_recorded_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sandbox, "support", lambda: kernel.Support(7, True))
    assert [Policy(mode).applied for mode in sandbox.MODES] == ["on", "strict", "off"]
    monkeypatch.setattr(sandbox, "support", lambda: kernel.Support(0, True))
    assert [Policy(mode).applied for mode in ("on", "off")] == ["on, but no Landlock", "off"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Policy().applied == "on, but darwin has no Landlock and no seccomp"


def test_only_a_file_is_taken_from_a_worker(tmp_path: Path) -> None:
    written, target, secret = (tmp_path / name for name in ("written", "target", "secret"))
    written.write_text("logits")
    take_file(written, target)
    assert target.read_text() == "logits"
    secret.write_text("secret")
    written.symlink_to(secret)
    with pytest.raises(OSError, match="something else than a file"):
        take_file(written, target)
    written.hardlink_to(secret)
    with pytest.raises(OSError, match="something else than a file"):
        take_file(written, target)
    assert target.read_text() == "logits"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["secret", "target"]


def _site(prefix: Path) -> Path:
    folder = prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def _readable(prefix: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    for name in ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, str(prefix))
    monkeypatch.setattr(sys, "executable", str(prefix / "bin" / "python"))
    return set(interpreter.readable([str(home)]))


def test_folders_that_an_environment_adds_are_read_if_llama_cpp_or_what_it_imports_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = _site(tmp_path / "env")
    editable, finder, project, user = (tmp_path / name for name in ("editable", "finder", "project", "user"))
    for folder in (editable / "llama_cpp", finder / "src" / "llama_cpp", project / "tests", user / "numpy"):
        folder.mkdir(parents=True)
    (site / "a.pth").write_text(f"# comment\nimport os\n{editable}\n{project}\n{tmp_path}\n/nowhere\n")
    (site / "__editable___llama_cpp_finder.py").write_text(
        f"MAPPING = {{'llama_cpp': '{finder}/src/llama_cpp/__init__.py'}}"
    )
    monkeypatch.setattr(sys, "path", [str(user), str(project), str(site), ""])

    found = _readable(tmp_path / "env", tmp_path / "home", monkeypatch)

    assert {tmp_path / "env" / "lib", editable, finder / "src", user} <= found
    assert not {project, tmp_path, tmp_path / "env", finder} & found


def test_an_interpreter_in_the_home_folder_or_a_project_does_not_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = _site(tmp_path)
    monkeypatch.setattr(sys, "path", [])
    for home in (tmp_path, tmp_path.parent / "me"):
        found = _readable(tmp_path, home, monkeypatch)
        assert tmp_path not in found
        assert tmp_path / "lib" in found
    # Nor if packages are in it, but for these.
    (site / "a.pth").write_text(f"{tmp_path}\n")
    (tmp_path / "llama_cpp").mkdir()
    found = _readable(tmp_path, tmp_path, monkeypatch)
    assert tmp_path not in found
    assert tmp_path / "llama_cpp" in found
    assert tmp_path in _readable(tmp_path, tmp_path.parent / "me", monkeypatch)


def test_packages_that_are_links_are_read_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, stored = _site(tmp_path / "env"), tmp_path / "archive" / "llama_cpp"
    stored.mkdir(parents=True)
    (stored / "__init__.py").touch()
    (tmp_path / "archive" / "llama_cpp_python-1.dist-info").mkdir()
    (site / "llama_cpp").mkdir()
    (site / "llama_cpp" / "__init__.py").symlink_to(stored / "__init__.py")
    monkeypatch.setattr(sys, "path", [])
    found = _readable(tmp_path / "env", tmp_path / "home", monkeypatch)
    assert {stored, tmp_path / "archive"} <= found
