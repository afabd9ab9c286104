"""Putting a model on the Hugging Face hub: what goes there, and the upload itself."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from visarch.cards import CARD, card_of_run, renamed
from visarch.errors import UserError
from visarch.hub import load
from visarch.models.pretrained import CONFIG_FILE, WEIGHTS_FILE
from visarch.report.run import read_run
from visarch.training.runfolder import CONFIG, EVALUATION, TASK

_OF_A_MODEL = (CONFIG_FILE, WEIGHTS_FILE, TASK, EVALUATION, CARD)


def files_to_upload(source: Path, name: str) -> dict[str, bytes | Path]:
    """The files of a model, by their names in its repository: path, or content.

    Args:
        source: a finished run folder, or a model folder.
        name: ``owner/name``, which a run's card then speaks of.

    Raises:
        UserError: there is no finished model, or it cannot be opened.
    """
    run = _run_folder(source)
    folder = source if run is None else run / "model"
    load(source if run is None else run)  # what cannot be opened here cannot be opened there
    files: dict[str, bytes | Path] = {
        file: folder / file for file in _OF_A_MODEL if (folder / file).is_file()
    }
    if run is not None:
        if (run / EVALUATION).is_file():
            files[EVALUATION] = run / EVALUATION
        files[CARD] = card_of_run(read_run(run), name).encode()
    elif (folder / CARD).is_file():
        files[CARD] = renamed((folder / CARD).read_text("utf-8"), name).encode()
    return files


def check_name(name: str) -> None:
    """That a repository can be called so.

    Raises:
        UserError: it cannot.
    """
    try:
        validate_repo_id(name)
        owner, slash, _ = name.partition("/")
        if not (owner and slash):
            raise HFValidationError(f"{name!r} does not say whose it is")
    except HFValidationError as error:
        raise UserError(
            f"{name} is no name on the hub ({error}): give OWNER/NAME, such as jane/digits."
        ) from error


def upload(files: dict[str, bytes | Path], name: str, *, public: bool, message: str) -> str:
    """Make the repository if there is none, and put the files there in one commit.

    Returns:
        Its address.

    Raises:
        UserError: the hub cannot be reached or refuses; or the repository is private already, and
            it should be public.
    """
    api = HfApi(library_name="visarch")
    try:
        if not api.repo_exists(name):
            api.create_repo(name, private=not public)
        elif public and api.model_info(name).private:
            raise UserError(
                f"{name} is there already and is private, which --public does not change: change "
                "it in the repository's settings on the hub, or leave --public out."
            )
        operations = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in files.items()
        ]
        return str(api.create_commit(name, operations, commit_message=message).repo_url)
    except (HTTPError, OfflineModeIsEnabled, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"The hub did not take {name} ({type(error).__name__}: {first}). `hf auth login` signs "
            "in with a token that may write; then give the same command again."
        ) from error


def _run_folder(source: Path) -> Path | None:
    """The run folder that is meant; none for a model folder.

    Raises:
        UserError: there is no such folder.
    """
    if not source.is_dir():
        raise UserError(f"There is no run folder or model folder {source}.")
    if (source / CONFIG).is_file():
        return source
    return source.parent if source.name == "model" and (source.parent / CONFIG).is_file() else None
