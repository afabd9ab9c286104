"""The card of an imported model: where it comes from, and how it expects images."""

from pathlib import Path

from visarch.cards import card as model_card
from visarch.cards import preprocessing
from visarch.foreign.importing import Imported


def card(imported: Imported, file: Path, origin: str, name: str) -> str:
    """Its README.md.

    Args:
        imported: the model.
        file: where its weights were read from.
        origin: the package they come from.
        name: what the model is called.
    """
    facts = imported.facts
    told = "\n".join(f"- {what}: {value} ({why})" for what, value, why in imported.reasons)
    return model_card(
        name,
        facts.get("task"),
        f"{type(imported.model).__name__} with weights of {origin}, from `{file.name}`: its "
        f"outputs differ from those of {origin}'s network by at most {imported.difference:.1g}. "
        "License and training data are those of the weights.",
        {
            "Network": told,
            "Preprocessing": preprocessing(
                "classifier", facts.get("preparation", {}), facts.get("settings", {})
            ),
            "Reproduce": f"```\nvisarch import {file.name} --from {origin} --out {name}\n```",
        },
    )
