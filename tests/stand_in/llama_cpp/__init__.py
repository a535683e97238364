"""A stand-in for the low-level ``llama_cpp``: what the worker uses of it, without a model.

It offers nothing that the real module lacks; ``tests/integration/worker/test_stand_in.py`` holds it to that.
Variables that reach the worker set what it does:

LLAMA_STAND_IN_TOKEN_SECONDS
    What decoding a token takes on the virtual clock.
LLAMA_STAND_IN_COMMIT
    The commit that it says it was made of.
LLAMA_CPP_LIB_PATH
    A folder in which a file ``token_seconds`` says what decoding a token takes, whatever else does.
LLAMA_STAND_IN_JITTER
    By what share of that, at most, decodes differ from each other.
LLAMA_STAND_IN_LOAD_SECONDS
    What loading takes on the virtual clock.
LLAMA_STAND_IN_DECODE_SLEEP
    Real seconds that each decode takes besides.
LLAMA_STAND_IN_FLASH_ATTENTION
    What it writes of flash attention, ``disabled`` or ``enabled``; without it, what it was asked for.
LLAMA_STAND_IN_LOG
    What else it writes when a context is made, one message a line.
LLAMA_STAND_IN_SHOUT
    What it writes before a fault.
LLAMA_STAND_IN_BOS
    The text of a token, which it writes as llama.cpp does.
LLAMA_STAND_IN_DEVICE_MIB
    By how many MiB less of its device Vulkan0 is free once a model is loaded; without it there is no device.
LLAMA_STAND_IN_FEATURES
    What it was compiled with: names with spaces between them.
LLAMA_STAND_IN_TEMPLATE
    The model's chat template.
LLAMA_STAND_IN_MAPS
    ``no``: it maps no file, whatever it was asked for.
LLAMA_STAND_IN_LOCKS
    ``yes``: it locks memory if it is asked to.
LLAMA_STAND_IN_REUSES
    ``no``: it builds every graph anew.
LLAMA_STAND_IN_ROUNDING
    In which of eleven ways logits are rounded.
LLAMA_STAND_IN_LOGIT_ERROR
    By how much logits are wrong, in steps up to six times that.
LLAMA_STAND_IN_NAN_AT
    The position whose logits hold NaN.
LLAMA_STAND_IN_NAN_IN
    How the names of the model files end with which they do; all do by default.
LLAMA_STAND_IN_TOKEN_SHIFT
    What is added to every token id of a text.
LLAMA_STAND_IN_ASKER
    What the chat template calls who asks.
LLAMA_STAND_IN_FAULT
    ``WHERE=WHAT``. WHERE is ``import``, ``load``, ``context``, ``quantize``,
    ``decode:N`` (the N-th) or ``tokens:N`` (a
    batch of that many tokens). WHAT is a signal's name, ``hang``, ``refuse``, or the code a decode answers.
LLAMA_STAND_IN_KIND
    ``encoder``, ``encoder-decoder``, ``reranker``, ``no vocabulary`` or ``no output head``.
LLAMA_STAND_IN_DIARY
    A file to which each process that imports this adds a line of JSON: ``pid`` and ``environment``.
LLAMA_STAND_IN_POWERS
    What it tries that a sandbox forbids; see ``powers.py``.
LLAMA_STAND_IN_ERA
    A release whose names are offered, see ``eras.py``.
"""

import os

from . import eras, llama_cpp

if os.environ.get("LLAMA_STAND_IN_ERA"):
    eras.apply(llama_cpp, os.environ["LLAMA_STAND_IN_ERA"])

from .llama_cpp import *  # noqa: F403 - as the real module does

# What it does is no property of its environment, which builds are compared by; a marker tells two apart.
for name in list(os.environ):
    if name.startswith(("LLAMA_STAND_IN_", "LLAMA_REFERENCE_")) and name != "LLAMA_STAND_IN_MARKER":
        del os.environ[name]

__version__ = "0.0.1"
