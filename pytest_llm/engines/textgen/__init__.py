"""text-generation-webui with its llama.cpp loader."""
