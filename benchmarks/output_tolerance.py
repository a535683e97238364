"""Divergence of SmolLM2's output under options that must not matter, and under injected errors.

    uv run python benchmarks/output_tolerance.py [--weights own|f32|exact] [--only NAME …]

Each row is a load option that differs from the default, over the positions that ``llm_output`` compares. The
rows below the line are errors: a RoPE base that is 2 % or 0.2 % off, and a KV cache of 8 bits. The table and
the factor that follows from it are in ``docs/output.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llm.builds.reference import parse_build
from pytest_llm.checks.output.capture import CaptureSession
from pytest_llm.checks.output.prompts import plan_prompts
from pytest_llm.engines import engine_for
from pytest_llm.models import ModelStore, builtin_entries, read_model
from pytest_llm.records import LoadOptions, OutputGate, Subject, Workload
from pytest_llm.records.side import Side
from pytest_llm.stats.divergence import read_logits, same_bits
from pytest_llm.system.folders import default_cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llm.records import Model

BENIGN: dict[str, dict[str, Any]] = {
    "flash_attn=off": {"flash_attn": "off"},
    "n_ubatch=8": {"n_ubatch": 8},
    "n_ubatch=32": {"n_ubatch": 32},
    "n_ubatch=64": {"n_ubatch": 64},
    "n_ubatch=100": {"n_ubatch": 100},
    "n_ubatch=500": {"n_ubatch": 500},
    "n_threads=2": {"n_threads": 2, "n_threads_batch": 2},
    "use_extra_bufts=False": {"use_extra_bufts": False},
    "type_k=type_v=f32": {"type_k": "f32", "type_v": "f32"},
}
WRONG = ("rope 2 %", "rope 0.2 %", "KV in q8_0")
# What the rows start from: the file as it is, its copy of 32-bit floats, and that without flash attention.
WEIGHTS: dict[str, dict[str, Any]] = {"own": {}, "f32": {}, "exact": {"flash_attn": "off"}}


def changes(model: Model, base: LoadOptions) -> Iterator[tuple[str, LoadOptions]]:
    """Return what each row changes."""
    for name, values in BENIGN.items():
        if replace(base, **values) != base:
            yield name, replace(base, **values)
    rope = float(read_model(model.path).metadata[f"{model.architecture}.rope.freq_base"])
    for name, share in zip(WRONG, (1.02, 1.002), strict=False):
        yield name, replace(base, rope_freq_base=rope * share)
    yield WRONG[2], replace(base, type_k="q8_0", type_v="q8_0" if base.flash_attn != "off" else "f16")


def copy_of(side: Side, folder: Path) -> Side:
    """Return the side with a copy of its model whose weights are 32-bit floats."""
    path = folder / f"{side.model.sha256}.f32.gguf"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with closing(side.engine.start_generation(side.subject, side.model)) as started:
            started.write_copy(path)
    return side._replace(model=replace(side.model, path=str(path)))


def main(arguments: list[str] | None = None) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", choices=list(WEIGHTS), default="own")
    parser.add_argument("--only", nargs="*", help="the rows to measure (all)")
    parser.add_argument("--build", default="llama-cpp-python", help="ENGINE[@WHERE] (the installed one)")
    parser.add_argument("--to", help="compare with this build instead, under equal options")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    cache = default_cache(os.environ)
    model = ModelStore(cache, builtin_entries(), Path.cwd()).resolve(options.model)
    base = LoadOptions(n_threads=options.threads, n_threads_batch=options.threads, **WEIGHTS[options.weights])

    def side_of(build: str, loaded: LoadOptions) -> Side:
        found = parse_build(build, Path.cwd())
        side = Side(Subject(model.name, found, loaded), model, engine_for(found, 600.0))
        return side if options.weights == "own" else copy_of(side, cache / "f32")

    reference = side_of(options.build, base)
    # Without the full cache: it costs more than the rest, and only the model's own weights are asked for it.
    plan = plan_prompts((reference,), OutputGate(), Workload()).unfilled()
    rows = list(changes(model, base))
    if options.to:
        rows = [(options.to, base)]
    with tempfile.TemporaryDirectory() as folder:
        session = CaptureSession(plan, Path(folder), lambda _: None)
        one = session.capture(reference, "reference", "")
        print(f"{one.build}, {options.weights}, {plan.positions()} positions, {one.build.compiled_with}")
        print(f"{'':24} {'mean KL':>9} {'p99':>9} {'largest':>9} {'flips':>6} {'top 20':>7}")
        for name, loaded in rows:
            if options.only and name not in options.only:
                continue
            other = session.capture(side_of(options.to or options.build, loaded), "other", "")
            mine, its = (read_logits(each.logits, plan.positions()) for each in (one, other))
            found = session.divergence(one, other, 20)
            same = "  the same bits" if same_bits(mine, its) else ""
            print(
                f"{name:24} {found.mean_kl:9.2e} {found.tail_kl:9.2e} {found.max_kl:9.2e} {found.flips:6} "
                f"{found.top_change:7.2g}{same}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
