"""Operators that got slower: llama.cpp's own ``test-backend-ops perf`` of two builds, interleaved."""

from pytest_llm.checks.operators.profile import ProfilingContext, Work, compare, without

__all__ = ["ProfilingContext", "Work", "compare", "without"]
