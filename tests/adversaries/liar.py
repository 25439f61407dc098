"""The real command line with a lying member in it: `python -m tests.adversaries.liar provider start ...`.

It commits to its work like everybody else, and then sends other bytes under its own signature.
"""

from commonweight.cli.main import app
from tests.adversaries.members import install

if __name__ == "__main__":
    install("liar")
    app()
