"""How an image shows itself, in a terminal and in a notebook. No voxel is read."""

from __future__ import annotations

import html
from typing import Any

import xarray as xr

from ..access import Access
from ..errors import GeometryError
from ..geometry.frames import body_direction
from ..metadata import is_label, properties_of
from .build import grid_of, times_of
from .computed import ComputedArray
from .lazily import unwrapped
from .views import is_dask

__all__ = ["access_of", "as_html", "as_text", "facts"]


def access_of(image: xr.DataArray) -> Access:
    """What reading a region costs: that of the dearest source."""
    data = image.variable._data
    shown = unwrapped(data)
    return ComputedArray(data).access if shown is None else shown.access


def facts(image: xr.DataArray) -> list[tuple[str, str]]:
    """What is worth knowing of an image, as (name, text) pairs."""
    size = " × ".join(f"{d} {image.sizes[d]}" for d in image.dims)
    kind = " labels" if is_label(properties_of(image.attrs)) else ""
    out = [("image", f"{size}, {image.dtype}{kind}, {_bytes(image.nbytes)}")]
    out += _grid_facts(image)
    times = times_of(image)
    if times is not None:
        unit = " s" if times.units == "s" else ""
        first, last = times.values[0], times.values[-1]
        step = times.regular_step()
        rhythm = "irregular" if step is None and len(times.values) > 1 else f"every {step:g}{unit}" if step else ""
        out.append(("time", f"{first:g} to {last:g}{unit}{', ' + rhythm if rhythm else ''}"))
    blocks = image.variable._data
    if is_dask(blocks):
        shape = " × ".join(str(max(c)) for c in blocks.chunks)
        out.append(("Dask", f"{blocks.npartitions} blocks of up to {shape} ({'·'.join(map(str, image.dims))})"))
    else:
        out.append(("data", "in memory" if unwrapped(blocks) is None else "read when it is asked for"))
    if image.encoding.get("scale_factor") is not None:
        stored = image.encoding.get("dtype")
        slope, inter = image.encoding["scale_factor"], image.encoding.get("add_offset", 0.0)
        out.append(("stored", f"{stored}, value = {slope:g} · stored + {inter:g}"))
    if image.encoding.get("source"):
        out.append(("source", str(image.encoding["source"])))
    properties = properties_of(image.attrs)
    if properties:
        out.append(("properties", ", ".join(f"{k}={_short(v)}" for k, v in properties.items())))
    return out


def _grid_facts(image: xr.DataArray) -> list[tuple[str, str]]:
    try:
        grid = grid_of(image)
    except GeometryError as error:
        return [("grid", f"no position: {error}")]
    unit = "" if grid.units == "unknown" else f" {grid.units}"
    letters = grid.orientation
    if letters is None:
        runs = "unknown: the source does not say where the patient is"
    else:
        runs = f"{letters}: " + ", ".join(f"{a} {body_direction(c)}" for a, c in zip("xyz", letters, strict=True))
    lo, hi = grid.bounds
    world = "world" if grid.space == "unknown" else f"{grid.space}+ world"
    return [
        ("spacing", f"{_numbers(grid.spacing)}{unit} (x, y, z)"),
        ("orientation", runs),
        ("bounds", f"{_numbers(lo)} to {_numbers(hi)}{unit}, {world}"),
    ]


def as_text(image: xr.DataArray) -> str:
    """Plain text for a terminal."""
    rows = facts(image)
    width = max(len(name) for name, _ in rows)
    return "\n".join(["<chunkimg image>", *(f"  {name:<{width}}  {text}" for name, text in rows)])


def as_html(image: xr.DataArray) -> str:
    """A table for a notebook."""
    cell = "text-align:left;vertical-align:top;padding:1px 8px"
    rows = "".join(
        f"<tr><th style='{cell}'>{html.escape(name)}</th><td style='{cell}'>{html.escape(text)}</td></tr>"
        for name, text in facts(image)
    )
    return f"<div class='chunkimg'><strong>chunkimg image</strong><table>{rows}</table></div>"


def _numbers(values: Any) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
