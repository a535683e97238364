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
_VALUE = re.compile(
    r"gh[opusr]_\w{8}|github_pat_\w{8}|gl[a-z]{1,6}-[\w-]{10}|sk-[\w-]{8}|[sr]k_(?:live|test)_\w{8}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12}|hf_\w{8}|api_org_\w{8}|nvapi-[\w-]{8}|llx-[\w-]{8}|gsk_\w{8}|r8_\w{8}"
    r"|xox[a-z]-[\w-]{8}|xapp-[\w-]{8}|npm_\w{8}|pypi-[\w-]{8}|AIza[\w-]{20}|ya29\.[\w-]{8}|dop_v1_\w{8}"
    r"|SG\.[\w-]{8}|eyJ[\w-]{8,}\.[\w-]{4,}|-----BEGIN |://[^/\s:@]*:[^@/\s]+@"
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
