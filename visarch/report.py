"""The report of a run: one self-contained page."""

from pathlib import Path


def write_report(run: Path) -> Path:
    """stub to be replaced"""
    return run / "report.html"
