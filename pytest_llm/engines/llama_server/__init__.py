"""llama-server: upstream's HTTP server, one process for each subject."""
