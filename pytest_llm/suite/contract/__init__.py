"""The contract of a build of llama-cpp-python: ``pytest --pyargs pytest_llm.suite.contract``.

Each test asks one thing of the candidate (``--llm-candidate``) in a process of its own. What breaks the
contract fails, by name; what a build cannot do, or what cannot be looked at here, is skipped as *not covered*
with the reason. A model of each architecture and quantisation is not part of it yet.
"""
