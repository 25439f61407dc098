"""What the inner steps run on, chosen by each provider for itself: a device, compiled or not.

The run fixes what is computed (its dtype among it, bfloat16 by autocast); an engine only changes how sums are rounded.
A replay on the plain CPU engine is then near, within the run's tolerance, and no longer equal to the bit, as it is
across machine kinds anyhow.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from commonweight.errors import UsageError

_COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True)
class Engine:
    """`device` as torch names it: `cpu`, `cuda` or `cuda:N`."""

    device: str = "cpu"
    compiled: bool = False

    def __post_init__(self) -> None:
        kind, colon, number = self.device.partition(":")
        if kind not in ("cpu", "cuda") or bool(colon) != number.isdigit() or (kind == "cpu" and colon):
            raise UsageError(f"There is no device {self.device!r}", "it is cpu, cuda or cuda:N", "correct --device")

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(":")[0]

    @property
    def exact(self) -> bool:
        """Whether others who replay its steps on a machine of the same kind come to the same bits."""
        return self == Engine()

    def require(self) -> None:
        """Refuse what this machine does not have. Raises UsageError."""
        import torch

        if self.kind == "cuda":
            if not torch.cuda.is_available():
                why, cure = "no driver or no card was found", "install the card's driver"
                if torch.version.cuda is None:
                    why = f"torch {torch.__version__} is built without CUDA"
                    cure = f"install torch {torch.__version__.partition('+')[0]} built for CUDA"
                raise UsageError(f"The device {self.device} is not there", why, f"{cure}, or leave --device at cpu")
            count = torch.cuda.device_count()
            if int(self.device.partition(":")[2] or 0) >= count:
                raise UsageError(f"There is no {self.device}", f"there are {count} cards", "name another --device")
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic kernels ask for
        if self.compiled and self.kind == "cpu" and not self._compiler():
            raise UsageError(
                "The inner steps cannot be compiled",
                "torch.compile needs a C++ compiler for the CPU, and none of g++, clang++, c++ is in PATH",
                "install one, or leave --compile out",
            )

    @staticmethod
    def _compiler() -> bool:
        named = os.environ.get("CXX")
        return any(shutil.which(name) for name in ((named,) if named else _COMPILERS))
