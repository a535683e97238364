"""What a build declares, before any model is loaded: functions, structs and their defaults.

The binding is read, not imported, if possible: its import fails at the first function that the library lacks.
"""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bindings import UnusableError, find, import_llama
from .names import NEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECORATOR = "ctypes_function"
# Module -> its library, and the variable that puts another folder in the place of the package's own.
_LIBRARIES = {"llama_cpp": ("llama", "LLAMA_CPP_LIB_PATH"), "mtmd_cpp": ("mtmd", "MTMD_CPP_LIB")}
_DEFAULTS = {
    "llama_model_params": "llama_model_default_params",
    "llama_context_params": "llama_context_default_params",
    "llama_model_quantize_params": "llama_model_quantize_default_params",
    "llama_sampler_chain_params": "llama_sampler_chain_default_params",
}


def symbols(module: str) -> dict[str, Any]:
    """Look up every function that a module of the binding declares in its library, importing neither.

    Args:
        module: The module's name within ``llama_cpp``.

    Returns:
        ``declared`` and ``missing`` (names), ``library`` (its path), and ``trouble``: why nothing could be
        looked up, "" otherwise.
    """
    base, variable = _LIBRARIES[module]
    source = _package() / f"{module}.py"
    if not source.is_file():
        return _unseen(f"this release of llama-cpp-python has no module {module}")
    declared = sorted(set(_declared(ast.parse(source.read_text(encoding="utf-8")))))
    if not declared:
        return _unseen(f"{source} declares no function that could be looked up")
    folder = Path(os.environ.get(variable) or source.parent / "lib")
    path = next((each for each in _file_names(folder, base) if each.exists()), None)
    if path is None:
        return _unseen(f"lib{base} is not in {folder}", declared)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return _unseen(f"{path} cannot be loaded: {error}", declared, str(path))
    missing = [name for name in declared if not hasattr(library, name)]
    return {"declared": declared, "missing": missing, "library": str(path), "trouble": ""}


def names() -> dict[str, str]:
    """Return the release's name of each function that the worker calls, "" if it has none."""
    module = import_llama()
    found = {name: find(module, name) for name in NEEDS}
    return {name: each.name if each else "" for name, each in found.items()}


def structs() -> dict[str, Any]:
    """Return the structs that the binding declares, and folders for headers of the library.

    ``structs`` has for each name its ``size`` and ``fields``: [name, offset, size, fields of the field's own
    type if that is a struct or union]. The folders of ``include`` need not exist.
    """
    module = import_llama().llama_cpp
    found = {
        name: {"size": ctypes.sizeof(value), "fields": _fields(value)}
        for name, value in vars(module).items()
        if _is_struct(value) and value.__name__ == name
    }
    return {"structs": found, "include": [str(each) for each in _include_folders()]}


def defaults() -> dict[str, dict[str, Any]]:
    """Return llama.cpp's defaults for each struct of parameters: numbers by field, by struct."""
    module = import_llama()
    return {
        struct: _numbers(getattr(module, function)())
        for struct, function in _DEFAULTS.items()
        if hasattr(module, function)
    }


def _unseen(trouble: str, declared: list[str] | None = None, library: str = "") -> dict[str, Any]:
    return {"declared": declared or [], "missing": [], "library": library, "trouble": trouble}


def _package() -> Path:
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise UnusableError("ModuleNotFoundError: No module named 'llama_cpp'")
    return Path(found.origin).parent


def _file_names(folder: Path, base: str) -> list[Path]:
    return [folder / f"lib{base}{suffix}" for suffix in (".so", ".dylib")]


def _declared(node: ast.AST) -> Iterator[str]:
    """Yield the functions that a decorator takes from the library, and those taken directly."""
    if isinstance(node, ast.FunctionDef):
        # What stands inside is left out: a function may call something of its own ``_lib``.
        yield from (name for name in map(_of_decorator, node.decorator_list) if name is not None)
        return
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_lib":
        yield node.attr
    for inner in ast.iter_child_nodes(node):
        yield from _declared(inner)


def _of_decorator(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != _DECORATOR:
        return None
    # A fourth argument says whether the function is to be taken at all.
    if len(node.args) > 3 or any(each.arg == "enabled" for each in node.keywords):
        return None
    name = node.args[0] if node.args else None
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


def _is_struct(value: Any) -> bool:
    kinds = (ctypes.Structure, ctypes.Union)
    return isinstance(value, type) and issubclass(value, kinds) and bool(getattr(value, "_fields_", ()))


def _fields(struct: Any, base: int = 0) -> list[Any]:
    found = []
    for name, kind in (each[:2] for each in struct._fields_):
        place = getattr(struct, name)
        inner = _fields(kind, base + place.offset) if _is_struct(kind) else []
        found.append([name, base + place.offset, place.size, inner])
    return found


def _include_folders() -> list[Path]:
    override = os.environ.get("LLAMA_CPP_LIB_PATH")
    if override:  # the package's own headers then describe another library
        return [Path(override).parent / "include", Path(override) / "include"]
    package = _package()
    return [package.parent / "include", package / "include"]


def _numbers(struct: Any) -> dict[str, Any]:
    values = {each[0]: getattr(struct, each[0]) for each in struct._fields_}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float))}
