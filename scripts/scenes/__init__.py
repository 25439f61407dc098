"""The scenes of `scripts/demo.py`, in the order of the play: opening, training, payout."""
