"""The picture of docs/traffic.md: share of the gain against times less traffic, as an SVG without any library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 30, 60
X_RANGE, Y_RANGE = (10.0, 5000.0), (-0.2, 1.05)
_FONT = 'font-family="sans-serif" font-size="12"'
_LEGEND_LINE = 22
_INK, _OURS, _THEIRS, _GOAL = "#444", "#0b6e4f", "#b5541c", "#888"


def picture(points: Sequence[tuple[str, float, float, bool]], goals: Sequence[tuple[int, int]]) -> str:
    """Points (name, times less traffic, share, whether it is ours) and goals (times, thousandths); an SVG document."""
    height = HEIGHT + 8 + _LEGEND_LINE * -(-len(points) // 2)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {_FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for times in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
        out.append(_line(_x(times), _y(Y_RANGE[0]), _x(times), _y(Y_RANGE[1]), "#eee"))
        out.append(_text(_x(times), HEIGHT - BOTTOM + 18, f"{times}x", "middle"))
    for tenth in range(-2, 11, 2):
        level = _y(tenth / 10)
        out.append(_line(_x(X_RANGE[0]), level, _x(X_RANGE[1]), level, "#eee" if tenth else "#aaa"))
        out.append(_text(LEFT - 8, level + 4, f"{10 * tenth} %", "end"))
    out.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "times less traffic than synchronous fp32", "middle"))
    out.append(_text(LEFT, 18, "share of the gain from one worker to synchronous training", "start"))
    for goal, milli in goals:
        x, y = _x(goal), _y(milli / 1000)
        out.append(f'<path d="M{x - 7:.1f} {y:.1f}h14M{x:.1f} {y - 7:.1f}v14" stroke="{_GOAL}" stroke-width="2"/>')
        out.append(_text(x + 9, y - 6, "goal", "start", _GOAL))
    for number, (name, less, share, ours) in enumerate(points):
        ink, line, column = _OURS if ours else _THEIRS, number // 2, number % 2
        out += _mark(_x(less), _y(share), number + 1, ink)
        left, base = LEFT + column * (WIDTH - LEFT) / 2, HEIGHT + 8 + line * _LEGEND_LINE
        out += [*_mark(left, base, number + 1, ink), _text(left + 14, base + 4, name, "start", ink)]
    return "\n".join([*out, "</svg>", ""])


def _x(times: float) -> float:
    low, high = (math.log(value) for value in X_RANGE)
    place = (math.log(min(max(times, X_RANGE[0]), X_RANGE[1])) - low) / (high - low)
    return LEFT + place * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    low, high = Y_RANGE
    return HEIGHT - BOTTOM - (min(max(share, low), high) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _mark(x: float, y: float, number: int, ink: str) -> list[str]:
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="{ink}" fill-opacity="0.85"/>'
    return [dot, _text(x, y + 4, str(number), "middle", "white")]


def _line(x: float, y: float, to_x: float, to_y: float, ink: str) -> str:
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{ink}"/>'


def _text(x: float, y: float, text: str, anchor: str, ink: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}">{escape(text)}</text>'
