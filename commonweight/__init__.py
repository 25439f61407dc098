"""Commonweight: a crowd funds, trains, verifies, serves and owns an AI model.

The rooms, from the bottom up: `protocol` (pure formats and rules), `exact` (bit-exact numpy arithmetic), `chain`,
`store` and `net` (the outside world), `audit`, and the programs `trainer`, `oracle`, `inference` and
`commonweight.cli`.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
