"""Contract of a build of llama-cpp-python: ``pytest --pyargs pytest_llm.suite.contract``.

Each test asks the candidate (``--llm-candidate``) one thing in another process. It fails if the contract is
broken, and is skipped as *not covered*, with a reason, if the build or this machine lacks what it needs.
"""
