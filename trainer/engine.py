"""What the inner steps and a server's answers are computed on, chosen by who runs them: a device, compiled or not.

The run fixes what is computed (its dtype among it, bfloat16 by autocast); an engine only changes how sums are rounded.
A replay on the plain CPU engine is then near, within the run's tolerance, and no longer equal to the bit, as it is
across machine kinds anyhow.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from commonweight.errors import DeviceFull, DeviceLost, UsageError
from commonweight.quantities import show_size

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
        return self == PLAIN

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

    def require_memory(
        self, needed: int, takes: str = "its steps take", instead: str = "lend this one to a run with a smaller model"
    ) -> None:
        """Refuse what does not fit into the card's memory beside what else lies there. Raises UsageError, which says
        that what `takes` so much is too much, and what to do instead of naming a larger card.
        """
        import torch

        if self.kind == "cpu":
            return
        torch.cuda.empty_cache()  # what this process has freed is free
        free, total = torch.cuda.mem_get_info(self.device)
        if free < needed:
            raise UsageError(
                f"This run's model does not fit into {self.device}",
                f"{takes} about {show_size(needed)}, and {show_size(free)} of {show_size(total)} are free",
                f"end what else runs there, name a larger card, or {instead}",
            )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Put into words what goes wrong on a card. Raises DeviceFull, which may pass, and DeviceLost, after
        which nothing works on it.
        """
        import torch

        try:
            yield
        except RuntimeError as failed:
            if isinstance(failed, torch.OutOfMemoryError) or (self.kind != "cpu" and _is_full(str(failed))):
                fix = "end what else runs there; `provider doctor` says what training takes"
                raise DeviceFull(f"There is no memory left on {self.device}", _first_line(failed), fix) from failed
            if self.kind == "cpu" or "CUDA error" not in str(failed):
                raise
            fix = "start again; if that does not help, look at `nvidia-smi` and the system's log"
            raise DeviceLost(f"{self.device} has failed", _first_line(failed), fix) from failed

    @staticmethod
    def _compiler() -> bool:
        named = os.environ.get("CXX")
        return any(shutil.which(name) for name in ((named,) if named else _COMPILERS))


PLAIN = Engine()
"""What everybody has, and whose steps have equal bits on machines of one kind."""


def _is_full(message: str) -> bool:
    """Whether a library's own words are of memory: cuBLAS and cuDNN ask for some by themselves, and what compiles the
    steps wraps the error that torch raises.
    """
    return "out of memory" in message or "STATUS_ALLOC_FAILED" in message


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
