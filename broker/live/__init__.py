"""What one run of the process holds in memory: connections, timers, delivery."""
