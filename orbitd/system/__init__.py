"""The operating system: processes, descriptors, shared memory. Knows pids and bytes, nothing of runs."""
