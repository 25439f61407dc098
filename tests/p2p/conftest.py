"""A small data set for runs, as the trainer's tests have it."""

from tests.trainer.conftest import data_dir

__all__ = ["data_dir"]
