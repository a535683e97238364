"""URLs of prebuilt archives: a pattern with the release's tag and this machine's platform."""

from __future__ import annotations

import re
import sysconfig
from urllib.parse import urlsplit

from pytest_llm.errors import UsageError

# As public scripts that install llama.cpp write it; releases before the end of 2025 end in .zip. Option
# ``llm_archive_url`` has the same default.
DEFAULT = "https://github.com/ggml-org/llama.cpp/releases/download/{tag}/llama-{tag}-bin-{platform}.tar.gz"
# What releases call a platform, by what Python calls it.
_PLATFORMS = {
    "linux-x86_64": "ubuntu-x64",
    "linux-aarch64": "ubuntu-arm64",
    "macos-arm64": "macos-arm64",
    "macos-x86_64": "macos-x64",
}
_PLACEHOLDER = re.compile(r"\{(.*?)\}")
_ENDINGS = (".tar.gz", ".tgz", ".zip")


def url_of(pattern: str, tag: str, platform: str = "") -> str:
    """Return the URL of an archive.

    Args:
        pattern: With ``{tag}``, and perhaps ``{platform}``: "ubuntu-x64", "macos-arm64".
        tag: "b11434".
        platform: As releases call it; "" is this machine's.

    Raises:
        UsageError: The pattern cannot be used, or releases have no archive of this platform.
    """
    names = set(_PLACEHOLDER.findall(pattern))
    if "tag" not in names or names - {"tag", "platform"}:
        raise UsageError(f"llm_archive_url: {pattern!r} must hold {{tag}}, and may hold {{platform}} alone")
    if not pattern.startswith(("https://", "http://")) or not pattern.endswith(_ENDINGS):
        raise UsageError(f"llm_archive_url: {pattern!r} must be a URL that ends in {', '.join(_ENDINGS)}")
    parts = urlsplit(pattern)
    if "@" in parts.netloc or parts.query:
        raise UsageError(
            "llm_archive_url holds a password or a query, which would stand in reports and in the lock file: "
            "fetch the archive yourself, and name its folder as llama-server@bin:PATH"
        )
    if "platform" in names and not platform:
        platform = _this_platform()
    return pattern.replace("{tag}", tag).replace("{platform}", platform)


def _this_platform() -> str:
    system, _, rest = sysconfig.get_platform().partition("-")
    found = _PLATFORMS.get(f"{'macos' if system == 'macosx' else system}-{rest.rpartition('-')[2]}")
    if found is None:
        raise UsageError(
            f"llama.cpp has no archives for {sysconfig.get_platform()} that are known here: write yours in "
            "llm_archive_url without {platform}"
        )
    return found
