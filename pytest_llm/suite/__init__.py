"""Ready-made tests of a build, for everybody: ``pytest --pyargs pytest_llm.suite.NAME``.

``contract``: does the build offer what llama-cpp-python's bindings promise, and what this project needs?
``memory``: does it take the bytes that the shapes predict, and are they where the load options put them?
"""
