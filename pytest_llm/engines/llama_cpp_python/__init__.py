"""llama-cpp-python, in a worker process of its own."""
