"""All-reduce engines as processes of their own, driven in lockstep by scripts/bench_allreduce.py."""
