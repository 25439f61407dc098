"""What the benchmarks of scripts/bench_*.py share, and the scenes that they measure."""
