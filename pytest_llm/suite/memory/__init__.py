"""Memory of a build of llama-cpp-python: ``pytest --pyargs pytest_llm.suite.memory``.

Does a model take the bytes that its shapes predict, and do load options put them where they should? Sizes are
those that llama.cpp writes while it loads, which need no driver; on Linux, the kernel's account of the
process as well. What a machine cannot show, for want of a device, is skipped as *not covered*, with the
reason.
"""
