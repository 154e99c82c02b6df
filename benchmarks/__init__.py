"""Speed of asynccore beside its peers: ``python -m benchmarks`` measures and reports."""
