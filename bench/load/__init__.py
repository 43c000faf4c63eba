"""A load generator for brokers, that checks what it measures: `tidelog bench`, docs/bench.md."""
