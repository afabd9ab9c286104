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

        check_name(self.name)
        files = files_to_upload(self.run, self.name)
        for path, content in files.items():
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            print(f"{path}: {size:,} bytes")
        if self.dry_run:
            return
        address = upload(files, self.name, public=self.public, message=self.message)
        print(f"Uploaded: {address}")
        print(f'Next: visarch.load("{self.name}") in Python, or the name in place of a run folder')
