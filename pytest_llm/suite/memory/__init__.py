"""Memory of a build of llama-cpp-python: ``pytest --pyargs pytest_llm.suite.memory``.

Sizes are read from llama.cpp's log, which needs no driver, and on Linux from the kernel. Tests that need a
device are skipped as *not covered* without one.
"""
