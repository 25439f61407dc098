"""The outer optimizer: SGD with Nesterov momentum, one rounded binary32 operation at a time."""

import numpy as np

from commonweight.errors import TrainingError
from commonweight.exact.arrays import F32, require_exact

__all__ = ["outer_step"]


def outer_step(w: F32, buf: F32, g: F32, lr: str | float, momentum: str | float) -> tuple[F32, F32]:
    """New weights and momentum float32[N] from weights, momentum and the averaged pseudo-gradient.

    buf' = mu * buf + g; w' = w - lr * (g + mu * buf'). lr and mu are decimal text or binary64, rounded to binary32.
    TrainingError when a weight is no longer finite.
    """
    require_exact()
    mu, rate = np.float32(float(momentum)), np.float32(float(lr))
    with np.errstate(over="ignore", invalid="ignore"):
        new_buf = mu * buf
        new_buf += g
        step = mu * new_buf
        step += g
        step *= rate
        new_w = w - step
    if not bool(np.isfinite(new_w).all()) or not bool(np.isfinite(new_buf).all()):
        raise TrainingError("The outer step leaves the range of numbers", "a weight is not finite any more",
                            "lower the outer learning rate, or start again from an earlier checkpoint")  # fmt: skip
    return new_w, new_buf
