"""``visarch push RUN owner/name``: a model on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Push:
    """Put a finished run's model on the Hugging Face hub, with its card and evaluation.

    Weights, configuration, task.json, evaluation.json and a card go there; images, checkpoints and
    the report do not. `visarch.load("OWNER/NAME")` and all verbs open it from there.
    """

    run: Positional[Path]
    """The run folder; or a model folder."""
    name: Positional[str]
    """OWNER/NAME of the repository, which is made if there is none."""
    public: bool = False
    """Let everybody see it, where the repository is new; by default it is private."""
    message: str = "Upload model"
    """Of the commit."""
    dry_run: bool = False
    """Only say what would be uploaded."""

    def main(self) -> None:
        from visarch.publishing import check_name, files_to_upload, upload
        from visarch.terminal import tell

        check_name(self.name)
        files = files_to_upload(self.run, self.name)
        sizes = {path: _size(content) for path, content in files.items()}
        for path, size in sizes.items():
            print(f"{path}: {size:,} bytes")
        address = None
        if not self.dry_run:
            address = upload(files, self.name, public=self.public, message=self.message)
        tell(
            {"name": self.name, "bytes": sizes, "address": address},
            [] if address is None else [f"Uploaded: {address}", _next(self.name)],
        )


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _next(name: str) -> str:
    return f'Next: visarch.load("{name}") in Python, or the name in place of a run folder'
