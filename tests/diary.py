"""A plugin of the runs that tests start: workers may write the stand-in's diary."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_llm.system import sandbox
from tests import STAND_IN

if os.environ.get("LLAMA_STAND_IN_DIARY"):
    sandbox.ALSO_WRITABLE += [Path(os.environ["LLAMA_STAND_IN_DIARY"]).parent, STAND_IN]
