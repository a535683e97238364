"""Variables that look like credentials, by their names and values: tokens, keys, passwords."""

from __future__ import annotations

import math
import re
from collections import Counter

_WORDS = (
    r"(?:(?:API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|AUTH)?KEYS?|(?:API|ACCESS|AUTH)?TOKENS?|SECRETS?|PASSWORDS?|PASSWD"
    r"|PASSPHRASE|PWD|PAT|CREDENTIALS?|CREDS?|AUTH|COOKIES?|SESSION|BEARER|JWT|DSN|NETRC)"
)
_NAME = re.compile(rf"(?:^|.*[_.-]){_WORDS}(?P<more>[_.-].*)?$", re.IGNORECASE)
# "LLAMA_TOKEN_SECONDS=0.5" is a setting; "LLAMA_TOKEN=0.5" may be anything.
_PLAIN = re.compile(r"[-+]?[\d.]{1,24}(?:e[-+]?\d{1,3})?|on|off|yes|no|true|false|", re.IGNORECASE)
# What services put in front of their tokens, so that they can be found where they leaked.
# Long enough that no folder is named so: /opt/glibc-custom, ~/hf_transfer.
_VALUE = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:gh[opusr]|hf|npm|gsk|r8|dop_v1|api_org|[sr]k_(?:live|test))[_-][A-Za-z0-9]{16}"
    r"|github_pat_\w{16}|gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|oas)-[\w-]{16}"
    r"|(?:sk|llx|nvapi)-(?:[a-z]{2,5}\d*-)*[A-Za-z0-9_]{16}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12}|AIza[\w-]{20}|xox[a-z]-[\w-]{8}|xapp-[\w-]{8}|pypi-[\w-]{16}|ya29\.[\w-]{8}"
    r"|SG\.[\w-]{16}|eyJ[\w-]{8,}\.[\w-]{4,})|-----BEGIN |://[^/\s:@]*:[^@/\s]+@"
)
_RANDOM = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_BITS = 3.0  # a character; words have fewer


def looks_secret(name: str, value: str) -> bool:
    """Return if a variable looks like a credential, by its name or by its value."""
    named = _NAME.match(name)
    if named and (named["more"] is None or not _PLAIN.fullmatch(value)):
        return True
    return has_known_form(value) or any(map(_is_random, _RANDOM.findall(value)))


def has_known_form(value: str) -> bool:
    """Return if a value looks like a service's token, a private key, or an address with a password."""
    return bool(_VALUE.search(value))


def _is_random(text: str) -> bool:
    """Return if a long word mixes letters and digits as no word, path or list does."""
    if text.count("/") > 1 or not (re.search(r"\d", text) and re.search(r"[A-Za-z]", text)):
        return False
    counts = Counter(text)
    bits = -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())
    return bits >= _BITS
