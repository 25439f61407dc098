"""What the launcher runs for the tests of serving: a server by its settings, perhaps on something like a card."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from inference.server import run
from inference.settings import ServeSettings
from trainer.engine import Engine
from trainer.model import Llama

TROUBLES = {
    "full": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "lost": RuntimeError("CUDA error: unspecified launch failure"),
}


def serve(given: dict[str, Any]) -> None:
    """Serve until a signal ends it. While a file `gate` is there, no token is made. With `card`, a file, the processor
    is taken for a card with `card_bytes` free, and goes wrong as the file says, once: `full 3` at the third pass
    through the model from then on, or `lost 1`.
    """
    card, free = given.pop("card", None), given.pop("card_bytes", 1 << 30)
    if card is not None:
        _pretend(Path(card), free)
    if (gate := given.pop("gate", None)) is not None:
        _hold(Path(gate))
    paths = {name: Path(given[name]) for name in ("keystore", "password_file", "data_dir", "state_dir")}
    run(ServeSettings(**{**given, **paths, "rpc_urls": tuple(given["rpc_urls"])}))


def _hold(gate: Path) -> None:
    forward = Llama.forward

    def held(self: Llama, *given: Any) -> torch.Tensor:
        while gate.exists():
            time.sleep(0.01)
        return forward(self, *given)

    Llama.forward = held  # type: ignore[method-assign]


def _pretend(orders: Path, free: int) -> None:
    forward = Llama.forward

    def watched(self: Llama, *given: Any) -> torch.Tensor:
        if orders.exists():
            trouble, passes = orders.read_text().split()
            orders.unlink()
            if int(passes) == 1:
                raise TROUBLES[trouble]
            orders.write_text(f"{trouble} {int(passes) - 1}")
        return forward(self, *given)

    Llama.forward = watched  # type: ignore[method-assign]
    Engine.kind = "cuda"  # type: ignore[method-assign, assignment]
    Engine.require = lambda _: None  # type: ignore[method-assign]
    torch.cuda.mem_get_info = lambda _: (free, 1 << 30)  # type: ignore[assignment]
