"""llama.cpp's own benchmark program, run once a session."""
