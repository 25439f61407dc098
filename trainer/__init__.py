"""The trainer: what a compute provider runs. `trainer.train` is its loop and reads top to bottom."""
