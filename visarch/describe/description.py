"""What is told of a network: its steps under the note's names, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Step:
    """One step of a network: a name of the note, what is done, and what that costs for one image.

    ``name`` is the note's in plain letters: ``z12``, ``y10_bar``, ``encoder.f_in``. ``inputs``
    names what it works on: steps before it, ``x`` (the image), ``u`` (the context). ``repeats`` is
    how many blocks of the kind that ``boxes`` names stand in a row. ``macs`` counts
    the multiply-accumulates of convolutions, linear maps and attention. ``receptive_field`` is the
    number of pixels of the image that one output pixel can see along each axis (of latent numbers,
    in a VAE's decoder); ``None`` is all of them.
    """

    name: str
    boxes: tuple[str, ...]
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: int | None
    repeats: int = 1

    @property
    def symbol(self) -> str:
        """The name as the note prints it: z₁₂, ȳ₁₀, encoder f_in."""
        return symbol(self.name)

    @property
    def operation(self) -> str:
        """The boxes in the order of their use."""
        words = " → ".join(self.boxes)
        return f"{self.repeats} × {words}" if self.repeats > 1 else words


@dataclass(frozen=True)
class Description:
    """A network's steps for one size of image; ``architecture`` is the name of its class."""

    network: str
    architecture: str
    input_shape: tuple[int, ...]
    steps: tuple[Step, ...]
    weight_bytes: int

    @property
    def parameters(self) -> int:
        """Learned numbers; each belongs to one step."""
        return sum(step.parameters for step in self.steps)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(step.macs for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "network": self.network,
            "architecture": self.architecture,
            "input_shape": list(self.input_shape),
            "parameters": self.parameters,
            "macs": self.macs,
            "weight_bytes": self.weight_bytes,
            "steps": [
                {
                    "name": step.name,
                    "symbol": step.symbol,
                    "operation": step.operation,
                    "inputs": list(step.inputs),
                    "shape": list(step.shape),
                    "parameters": step.parameters,
                    "macs": step.macs,
                    "receptive_field": step.receptive_field,
                }
                for step in self.steps
            ],
        }


def table(description: Description) -> Table:
    """The steps and their totals, for rich to print."""
    result = Table(
        title=f"{description.network} on {times(description.input_shape)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    result.add_column("step", no_wrap=True)
    result.add_column("operation", overflow="fold")
    for heading in ("output", "parameters", "MACs", "receptive\nfield"):
        result.add_column(heading, justify="right", no_wrap=True)
    for step in description.steps:
        result.add_row(
            step.symbol,
            step.operation,
            times(step.shape),
            f"{step.parameters:,}",
            quantity(step.macs),
            _sight(step, len(description.input_shape) - 1),
        )
    result.add_section()
    parameters, macs = f"{description.parameters:,}", quantity(description.macs)
    weights = f"weights: {quantity(description.weight_bytes)}B"
    result.add_row("total", weights, "", parameters, macs, "", style="bold")
    return result


def symbol(name: str) -> str:
    """A step's name as the note prints it: z₁₂, ȳ₁₀, encoder f_in."""
    letter = "ȳ" if name.endswith("_bar") else name[0]
    number = name.removesuffix("_bar")[1:]
    if number.isdigit():
        return letter + number.translate(_SUBSCRIPTS)
    return name.replace(".", " ")


def times(sizes: Sequence[int]) -> str:
    """Sizes as one writes them: 64×32×32."""
    return "×".join(map(str, sizes))


def quantity(number: int) -> str:
    """A number to three digits, ready for its unit: "3.99 G", "113 M", "512 "."""
    for prefix, unit in (("P", 10**15), ("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        value = number / unit
        if value >= 0.9995:
            decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{decimals}f} {prefix}"
    return f"{number} "


def _sight(step: Step, ndim: int) -> str:
    """A receptive field in words."""
    if step.receptive_field is None:
        return "all of z" if step.name.startswith("decoder.") else "all"
    return times((step.receptive_field,) * ndim) if step.receptive_field else "none"
