"""Mutation testing of the contracts; `scripts/mutation.py` is the program."""
