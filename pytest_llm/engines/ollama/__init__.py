"""Ollama: a server that runs a llama.cpp of its own inside."""
