"""Memory of processes: peaks while they work, what they allocate and never give back."""
