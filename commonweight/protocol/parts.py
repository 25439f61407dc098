"""Parts of the flat parameter vector: which slice each reducer of the butterfly all-reduce aggregates.

The vector's elements are cut into blocks (the last may be short), and the blocks are dealt to the parts in order and as
evenly as integers allow, so that no quantisation block lies in two parts.
"""

from dataclasses import dataclass

from commonweight.errors import FormatError

__all__ = ["PartRange", "block_count", "part_range", "part_ranges"]


@dataclass(frozen=True)
class PartRange:
    """Elements [start, stop) of the flat vector."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.stop - self.start


def block_count(numel: int, block: int) -> int:
    """Number of blocks of a vector."""
    return -(-numel // block)


def part_range(numel: int, block: int, parts: int, part: int) -> PartRange:
    """Elements of one part: blocks [part*B//parts, (part+1)*B//parts) of B blocks."""
    blocks = block_count(numel, block)
    if parts < 1 or not 0 <= part < parts or parts > blocks:
        raise FormatError("There is no such part", f"part {part} of {parts}, over {blocks} blocks")
    return PartRange(part * blocks // parts * block, min((part + 1) * blocks // parts * block, numel))


def part_ranges(numel: int, block: int, parts: int) -> tuple[PartRange, ...]:
    """All parts in order; together they are the whole vector."""
    return tuple(part_range(numel, block, parts, part) for part in range(parts))
