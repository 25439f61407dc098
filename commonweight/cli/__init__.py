"""The command line: thin commands, one module per role, and one place for output.

No module here imports torch, web3, numpy or fastapi at its top: `--help` must answer at once.
"""
