"""What `benchmarks/runtime.py` measures with."""
