"""How fast a model is on a build: `pytest --llm-bench --pyargs pytest_llm.suite.speed --llm-model FILE`."""
