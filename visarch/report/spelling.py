"""Numbers and settings as they are read."""

import math
from typing import Any


def number(value: float) -> str:
    """A measured number in four digits, a whole one in all of its own: 6.820, −0.01250, 1,024."""
    if not math.isfinite(value) or float(value).is_integer() or abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.4g}"
    return text.replace("-", "−")


def short(value: float) -> str:
    """A number for the axis of a chart: 0.00025, 12.5, 4,000, 25k, 1.5M."""
    if 1e6 <= abs(value) < 1e9:
        text = f"{value / 1e6:.4g}M"
    elif 1e4 <= abs(value) < 1e6:
        text = f"{value / 1e3:.4g}k"
    else:
        text = f"{value:,.0f}" if 1000 <= abs(value) < 1e4 else f"{value:.4g}"
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """A length of time in its largest unit: 95 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def setting(value: Any) -> str:
    """A setting as it is read in config.yaml; a dash where it is left open."""
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
