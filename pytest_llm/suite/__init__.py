"""Ready-made tests of a build of llama-cpp-python: ``pytest --pyargs pytest_llm.suite.NAME``.

``contract``: the build has what its bindings declare and what this project needs.
``memory``: weights and caches take the predicted bytes and are where load options put them.
"""
