"""Files, locks, processes and the kernel's figures; imports nothing of benchmarks."""
