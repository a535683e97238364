"""The program that loads a model: one process for each loaded subject.

It runs under any interpreter that has ``llama_cpp``, with nothing else of this project installed there, so
its modules import the standard library, ``llama_cpp`` and each other, and each other only relatively.
Requests and answers are JSON lines on two pipes of its own; standard output and error belong to llama.cpp.

``serve`` takes requests → ``subject`` holds the model → ``timing`` times it, ``text`` talks with it,
``distributions`` writes down all that it holds likely, ``devices`` asks ggml what memory is free;
``capability`` asks what the model can do, ``embeddings`` embeds, ``finite`` looks for NaN, ``buffers`` and
``adapters`` place and change weights;
``bindings`` is the one module that knows which names a release of llama-cpp-python has, from the table in
``names``. ``introspection`` looks at a build without any model.
"""
