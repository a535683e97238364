"""Which operation got slower: llama.cpp's own ``test-backend-ops perf`` of two builds, in turns."""

from pytest_llm.checks.operators.profile import ProfilingContext, Work, compare, without

__all__ = ["ProfilingContext", "Work", "compare", "without"]
