"""Files, locks, processes and the kernel's figures; knows nothing of benchmarks."""
