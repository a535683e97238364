"""Variables of the environment that reach what makes builds: each by its exact name, with its reason.

A build runs code of strangers: the build backend of a source package, CMake files of a checkout. Variables
that change what is compiled are not among these, as they are no part of a build's name; nor are secrets.
Credentials of a package index reach the steps that fetch alone.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pytest_llm.system.credentials import looks_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMPILER = "where compilers find headers and libraries"
_CCACHE = "the compiler's cache"
_CUDA = "finds CUDA"
_ROCM = "finds ROCm"
_ONEAPI = "finds oneAPI"
_ASCEND = "finds Ascend's compilers"
_APPLE = "finds Apple's compilers and libraries"
_ARCHIVES = "which archive of a release uv takes"

# In every step.
NEEDED: Mapping[str, str] = {
    "PATH": "finds compilers, cmake and git",
    "HOME": "finds caches of uv and of the compiler",
    "XDG_CACHE_HOME": "finds caches of uv and of the compiler",
    "XDG_CONFIG_HOME": "finds the settings of the compiler's cache",
    "TMPDIR": "folder for temporary files",
    "LANG": "encoding of paths",
    "LC_ALL": "encoding of paths",
    "LC_CTYPE": "encoding of paths",
    "LD_LIBRARY_PATH": "finds libraries of compilers",
    "LIBRARY_PATH": _COMPILER,
    "CPATH": _COMPILER,
    "C_INCLUDE_PATH": _COMPILER,
    "CPLUS_INCLUDE_PATH": _COMPILER,
    "COMPILER_PATH": _COMPILER,
    "PKG_CONFIG_PATH": _COMPILER,
    "PKG_CONFIG_LIBDIR": _COMPILER,
    "NIX_CC": _COMPILER,
    "NIX_BINTOOLS": _COMPILER,
    "NIX_CFLAGS_COMPILE": _COMPILER,
    "NIX_LDFLAGS": _COMPILER,
    "CMAKE_BUILD_PARALLEL_LEVEL": "how many compilers run at once",
    "CCACHE_DIR": _CCACHE,
    "CCACHE_CONFIGPATH": _CCACHE,
    "CCACHE_DISABLE": _CCACHE,
    "CCACHE_MAXSIZE": _CCACHE,
    "SCCACHE_DIR": _CCACHE,
    "CUDA_HOME": _CUDA,
    "CUDA_PATH": _CUDA,
    "ROCM_PATH": _ROCM,
    "HIP_PATH": _ROCM,
    "HIP_PLATFORM": _ROCM,
    "HIP_DEVICE_LIB_PATH": _ROCM,
    "VULKAN_SDK": "finds Vulkan",
    "ONEAPI_ROOT": _ONEAPI,
    "CMPLR_ROOT": _ONEAPI,
    "MKLROOT": _ONEAPI,
    "TBBROOT": _ONEAPI,
    "DNNLROOT": _ONEAPI,
    "MUSA_PATH": "finds MUSA",
    "ASCEND_TOOLKIT_HOME": _ASCEND,
    "CANN_INSTALL_DIR": _ASCEND,
    "SDKROOT": _APPLE,
    "DEVELOPER_DIR": _APPLE,
    "MACOSX_DEPLOYMENT_TARGET": _APPLE,
    "UV_CACHE_DIR": "where uv keeps what it fetched and built",
    "UV_OFFLINE": "uv takes all from its cache",
    "UV_NO_INDEX": "uv takes all from UV_FIND_LINKS",
    "UV_INDEX_STRATEGY": _ARCHIVES,
    "UV_NO_BINARY": _ARCHIVES,
    "UV_NO_BINARY_PACKAGE": _ARCHIVES,
    "UV_NO_BUILD": _ARCHIVES,
    "UV_NO_BUILD_PACKAGE": _ARCHIVES,
    "UV_PRERELEASE": _ARCHIVES,
    "UV_EXCLUDE_NEWER": _ARCHIVES,
    "UV_CONSTRAINT": "versions of what the release depends on",
    "UV_OVERRIDE": "versions of what the release depends on",
    "UV_BUILD_CONSTRAINT": "versions of the build backend",
    "UV_CONCURRENT_BUILDS": "how many packages uv compiles at once",
}

# Places of packages: without user, password and query in steps that do not fetch.
PLACES: Mapping[str, str] = {
    "UV_DEFAULT_INDEX": "the package index",
    "UV_INDEX_URL": "the package index",
    "UV_INDEX": "further package indexes",
    "UV_EXTRA_INDEX_URL": "further package indexes",
    "UV_FIND_LINKS": "folders and pages with archives",
}

_PROXY = "the way to the package index"
_TLS = "whom to trust on the way to the package index"
_WAIT = "how long to wait for the package index"
_CREDENTIALS = "credentials of the package index"

# In steps that fetch, besides.
FETCHING: Mapping[str, str] = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"), _PROXY),
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "no_proxy"), _PROXY),
    "SSL_CERT_FILE": _TLS,
    "SSL_CERT_DIR": _TLS,
    "UV_NATIVE_TLS": _TLS,
    "UV_SYSTEM_CERTS": _TLS,
    "UV_INSECURE_HOST": _TLS,
    "UV_HTTP_TIMEOUT": _WAIT,
    "UV_HTTP_CONNECT_TIMEOUT": _WAIT,
    "UV_HTTP_RETRIES": _WAIT,
    "UV_CONCURRENT_DOWNLOADS": "how many archives uv fetches at once",
    "SSL_CLIENT_CERT": _CREDENTIALS,
    "NETRC": _CREDENTIALS,
    "UV_KEYRING_PROVIDER": _CREDENTIALS,
    "UV_CREDENTIALS_DIR": _CREDENTIALS,
}
# UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD, of the indexes that UV_INDEX names.
_OF_INDEX = re.compile(r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)")

# Of pip, which lists releases and builds nothing.
PIP: Mapping[str, str] = {
    **dict.fromkeys(("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"), "places of packages"),
    **dict.fromkeys(("PIP_NO_INDEX", "PIP_PRE"), _ARCHIVES),
    **dict.fromkeys(("PIP_CONFIG_FILE", "PIP_CACHE_DIR"), "where pip's settings and its cache are"),
    "PIP_PROXY": _PROXY,
    **dict.fromkeys(("PIP_CERT", "PIP_TRUSTED_HOST", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), _TLS),
    **dict.fromkeys(("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"), _WAIT),
    **dict.fromkeys(("PIP_CLIENT_CERT", "PIP_KEYRING_PROVIDER"), _CREDENTIALS),
}

# Names further variables that a build needs: "MY_SDK_*" for all that begin so.
PASS = "PYTEST_LLM_BUILD_PASS"
# "on": steps that compile may use the network, which CMake's FetchContent and some settings need.
NETWORK = "PYTEST_LLM_BUILD_NETWORK"


def building(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of steps that have all: no secret is among them."""
    also = environ.get(PASS, "").split()
    found = {
        name: value
        for name, value in environ.items()
        if name in NEEDED
        or (any(fnmatchcase(name, pattern) for pattern in also) and not looks_secret(name, value))
    }
    places = {name: _without_credentials(environ[name]) for name in PLACES if name in environ}
    return {**found, **places}


def fetching(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of steps that fetch."""
    more = {
        name: value
        for name, value in environ.items()
        if name in FETCHING or name in PLACES or _OF_INDEX.fullmatch(name)
    }
    return {**building(environ), **more}


def listing(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of pip when it lists releases."""
    return {**fetching(environ), **{name: environ[name] for name in PIP if name in environ}}


def may_use_network(environ: Mapping[str, str]) -> bool:
    """Return if steps that compile may use the network."""
    return environ.get(NETWORK, "").lower() in ("1", "on", "true", "yes")


def bare(place: str) -> str:
    """Return a path as it is, and a URL without user, password, query and final slash; names stay."""
    name, equals, url = place.partition("=") if re.match(r"[\w.-]+=", place) else ("", "", place)
    parts = urlsplit(url)
    if not parts.netloc:
        return place
    host = parts.netloc.rpartition("@")[2]
    return name + equals + urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def bare_places(written: str) -> list[str]:
    """Return each of the places in a variable as by :func:`bare`."""
    return [bare(each) for each in re.split(r"[\s,]+", written) if each]


def _without_credentials(written: str) -> str:
    return re.sub(r"[^\s,]+", lambda found: _public(found[0]), written)


def _public(place: str) -> str:
    return bare(place) if "@" in place or "?" in place else place
