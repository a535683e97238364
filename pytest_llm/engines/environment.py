"""Variables of the environment that reach an engine's process: each by its exact name, with its reason.

Variables that change speed are recorded with the build; a baseline that was recorded with others is drift.
No variable that looks like a credential reaches a process or a record, whatever its name.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytest_llm.system.credentials import has_known_form, looks_secret
from pytest_llm.system.start_size import PADDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What a program needs to start, and to find its libraries and its caches.
NEEDED: Mapping[str, str] = {
    "PATH": "finds programs",
    "HOME": "finds caches of compiled shaders and kernels",
    "XDG_CACHE_HOME": "finds caches of compiled shaders and kernels",
    "TMPDIR": "folder for temporary files",
    "LANG": "encoding of paths",
    "LC_ALL": "encoding of paths",
    "LC_CTYPE": "encoding of paths",
    "LD_LIBRARY_PATH": "finds libraries",
    "DYLD_LIBRARY_PATH": "finds libraries on macOS",
    "DYLD_FALLBACK_LIBRARY_PATH": "finds libraries on macOS",
    "LLAMA_CPP_LIB_PATH": "finds the library of llama-cpp-python; part of the build",
    "GGML_BACKEND_PATH": "finds a backend",
    "GGML_NO_BACKTRACE": "keeps a debugger from starting after a crash",
    "CUDA_HOME": "finds CUDA",
    "CUDA_PATH": "finds CUDA",
    "CUDA_CACHE_PATH": "finds kernels that were compiled before",
    "VK_DRIVER_FILES": "finds drivers of Vulkan",
    "VK_ICD_FILENAMES": "finds drivers of Vulkan",
    "OMP_STACKSIZE": "size of a thread's stack",
    "GOMP_STACKSIZE": "size of a thread's stack",
    "KMP_STACKSIZE": "size of a thread's stack",
    "KMP_DUPLICATE_LIB_OK": "lets a process with two OpenMP libraries start",
    PADDING: "moves the stack of a process: sham pairs differ by it",
}

_THREADS = "how many threads OpenMP gives"
_PLACES = "which processors OpenMP binds threads to"
_WAIT = "how OpenMP's threads wait for each other"
_CPU = "which kernels the CPU runs"
_CUDA = "how the CUDA backend computes"
_DEVICES = "which devices there are"
_MEMORY = "where memory is allocated"
_GRAPH = "how graphs are built and computed"
_VULKAN = "how the Vulkan backend computes"
_METAL = "how the Metal backend computes"

SPEED: Mapping[str, str] = {
    "OMP_NUM_THREADS": _THREADS,
    "OMP_THREAD_LIMIT": _THREADS,
    "OMP_DYNAMIC": _THREADS,
    "OMP_MAX_ACTIVE_LEVELS": _THREADS,
    "KMP_ALL_THREADS": _THREADS,
    "KMP_DEVICE_THREAD_LIMIT": _THREADS,
    "KMP_DYNAMIC_MODE": _THREADS,
    "OMP_PROC_BIND": _PLACES,
    "OMP_PLACES": _PLACES,
    "GOMP_CPU_AFFINITY": _PLACES,
    "KMP_AFFINITY": _PLACES,
    "KMP_HW_SUBSET": _PLACES,
    "OMP_WAIT_POLICY": _WAIT,
    "GOMP_SPINCOUNT": _WAIT,
    "KMP_BLOCKTIME": _WAIT,
    "KMP_LIBRARY": _WAIT,
    "OMP_SCHEDULE": "how OpenMP shares work out",
    "LD_PRELOAD": "libraries that replace functions, such as malloc",
    "DYLD_INSERT_LIBRARIES": "libraries that replace functions, such as malloc",
    "GLIBC_TUNABLES": "huge pages and arenas of malloc; instruction sets that glibc uses",
    "MALLOC_ARENA_MAX": _MEMORY,
    "GGML_CPU_DISABLE_FUSION": _CPU,
    "GGML_CPU_TILED_MM": _CPU,
    "GGML_CPU_TILED_MM_FORCE": _CPU,
    "GGML_KLEIDIAI_SME": _CPU,
    "GGML_KLEIDIAI_CHUNK_MULTIPLIER": _CPU,
    "GGML_TOTAL_THREADS": _CPU,
    "GGML_OP_OFFLOAD_MIN_BATCH": _GRAPH,
    "LLAMA_GRAPH_REUSE_DISABLE": _GRAPH,
    "LLAMA_SET_ROWS": _GRAPH,
    "LLAMA_ATTN_ROT_DISABLE": _GRAPH,
    "GGML_SCHED_DEBUG": "output while graphs are computed",
    "OPENBLAS_CORETYPE": _CPU,
    "OPENBLAS_NUM_THREADS": "how many threads OpenBLAS takes",
    "CUDA_VISIBLE_DEVICES": _DEVICES,
    "CUDA_DEVICE_ORDER": _DEVICES,
    "CUDA_SCALE_LAUNCH_QUEUES": _CUDA,
    "CUDA_DEVICE_MAX_CONNECTIONS": _CUDA,
    "CUDA_LAUNCH_BLOCKING": _CUDA,
    "CUDA_MODULE_LOADING": _CUDA,
    "CUDA_MANAGED_FORCE_DEVICE_ALLOC": _MEMORY,
    "NVIDIA_TF32_OVERRIDE": _CUDA,
    "NVIDIA_VISIBLE_DEVICES": _DEVICES,
    "GGML_CUDA_ALLREDUCE": _CUDA,
    "GGML_CUDA_CUBLAS_COMPUTE_TYPE": _CUDA,
    "GGML_CUDA_DEVICES": _DEVICES,
    "GGML_CUDA_DISABLE_FUSION": _CUDA,
    "GGML_CUDA_DISABLE_GRAPHS": _CUDA,
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": _MEMORY,
    "GGML_CUDA_FORCE_CUBLAS_COMPUTE_16F": _CUDA,
    "GGML_CUDA_FORCE_CUBLAS_COMPUTE_32F": _CUDA,
    "GGML_CUDA_GRAPH_OPT": _CUDA,
    "GGML_CUDA_MMQ_PREC": _CUDA,
    "GGML_CUDA_NO_PINNED": _MEMORY,
    "GGML_CUDA_P2P": _CUDA,
    "GGML_CUDA_PDL": _CUDA,
    "GGML_CUDA_REGISTER_HOST": _MEMORY,
    "HIP_VISIBLE_DEVICES": _DEVICES,
    "ROCR_VISIBLE_DEVICES": _DEVICES,
    "GPU_MAX_HW_QUEUES": "how the ROCm backend computes",
    "HIP_LAUNCH_BLOCKING": "how the ROCm backend computes",
    "HSA_OVERRIDE_GFX_VERSION": "which kernels an AMD device runs",
    "HSA_ENABLE_SDMA": "how the ROCm backend copies",
    "HSA_XNACK": _MEMORY,
    "GGML_DISABLE_VULKAN": _DEVICES,
    "GGML_VK_VISIBLE_DEVICES": _DEVICES,
    "MESA_VK_DEVICE_SELECT": _DEVICES,
    "VK_LOADER_DRIVERS_SELECT": _DEVICES,
    "GGML_VK_ALLOW_GRAPHICS_QUEUE": _VULKAN,
    "GGML_VK_ALLOW_SYSMEM_FALLBACK": _MEMORY,
    "GGML_VK_ASYNC_USE_TRANSFER_QUEUE": _VULKAN,
    "GGML_VK_DISABLE_ASYNC": _VULKAN,
    "GGML_VK_DISABLE_BFLOAT16": _VULKAN,
    "GGML_VK_DISABLE_COOPMAT": _VULKAN,
    "GGML_VK_DISABLE_COOPMAT2": _VULKAN,
    "GGML_VK_DISABLE_F16": _VULKAN,
    "GGML_VK_DISABLE_FUSION": _VULKAN,
    "GGML_VK_DISABLE_GRAPH_OPTIMIZE": _VULKAN,
    "GGML_VK_DISABLE_HOST_VISIBLE_VIDMEM": _MEMORY,
    "GGML_VK_DISABLE_INTEGER_DOT_PRODUCT": _VULKAN,
    "GGML_VK_DISABLE_MMVQ": _VULKAN,
    "GGML_VK_ENABLE_MEMORY_PRIORITY": _MEMORY,
    "GGML_VK_FORCE_MAX_ALLOCATION_SIZE": _MEMORY,
    "GGML_VK_FORCE_MAX_BUFFER_SIZE": _MEMORY,
    "GGML_VK_FORCE_MMVQ": _VULKAN,
    "GGML_VK_MAX_NODES_PER_SUBMIT": _VULKAN,
    "GGML_VK_PREFER_HOST_MEMORY": _MEMORY,
    "GGML_VK_SERIALIZE_SUBMISSIONS": _VULKAN,
    "GGML_VK_SUBALLOCATION_BLOCK_SIZE": _MEMORY,
    "GGML_METAL_BF16_DISABLE": _METAL,
    "GGML_METAL_CONCURRENCY_DISABLE": _METAL,
    "GGML_METAL_DEVICES": _DEVICES,
    "GGML_METAL_FUSION_DISABLE": _METAL,
    "GGML_METAL_GRAPH_OPTIMIZE_DISABLE": _METAL,
    "GGML_METAL_NO_RESIDENCY": _MEMORY,
    "GGML_METAL_SHARED_BUFFERS_DISABLE": _MEMORY,
    "GGML_METAL_TENSOR_DISABLE": _METAL,
    "GGML_METAL_TENSOR_ENABLE": _METAL,
    "ONEAPI_DEVICE_SELECTOR": _DEVICES,
    "GGML_SYCL_DISABLE_GRAPH": "how the SYCL backend computes",
    "GGML_SYCL_DISABLE_OPT": "how the SYCL backend computes",
    "GGML_SYCL_NO_PINNED": _MEMORY,
    "GGML_CANN_NO_PINNED": _MEMORY,
    "GGML_OPENCL_PLATFORM": _DEVICES,
    "GGML_OPENCL_DEVICE": _DEVICES,
    "GGML_OPENCL_DISABLE_FUSION": "how the OpenCL backend computes",
}

# Names further variables, which other builds know: "GGML_FORK_*" for all that begin so.
PASS = "PYTEST_LLM_PASS"
# Of llama.cpp, OpenMP and CUDA, in builds that know more variables than these lists.
_PREFIXES = ("GGML_", "LLAMA_", "OMP_", "KMP_", "GOMP_", "CUDA_", "HIP_")
# Variables that may leave fewer threads than were asked for.
FEWER_THREADS = (
    "OMP_THREAD_LIMIT",
    "OMP_DYNAMIC",
    "KMP_ALL_THREADS",
    "KMP_DEVICE_THREAD_LIMIT",
    "KMP_DYNAMIC_MODE",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_HW_SUBSET",
)


def passed(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that reach an engine's process."""
    return [
        name
        for name, value in environment.items()
        if (_known(name) or _asked_for(name, environment)) and not _refused(name, value)
    ]


def not_passed(environment: Mapping[str, str]) -> list[str]:
    """Return the names of variables that look like an engine's and do not reach it, sorted."""
    return sorted(
        {name for name in environment if name.startswith(_PREFIXES)}
        - {*passed(environment), *refused(environment)}
    )


def refused(environment: Mapping[str, str]) -> list[str]:
    """Return the names of variables that would reach an engine and look like credentials, sorted."""
    return sorted(
        name
        for name, value in environment.items()
        if (_known(name) or _asked_for(name, environment)) and _refused(name, value)
    )


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a build is recorded and compared with, sorted by name.

    They change speed, or may do so in a build that knows more of them.
    """
    return {
        name: environment[name]
        for name in sorted(environment)
        if (name in SPEED or (name.startswith(_PREFIXES) and name not in NEEDED))
        and not _refused(name, environment[name])
    }


def _known(name: str) -> bool:
    return name in NEEDED or name in SPEED


def _asked_for(name: str, environment: Mapping[str, str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in environment.get(PASS, "").split())


def _refused(name: str, value: str) -> bool:
    # A folder of a known variable may have a name that looks random.
    return has_known_form(value) if _known(name) else looks_secret(name, value)


def settings(environment: Mapping[str, str], names: Iterable[str]) -> str:
    """Return those of some variables that are set, as they are written: "OMP_DYNAMIC=true"."""
    return ", ".join(f"{name}={environment[name]}" for name in names if environment.get(name))
