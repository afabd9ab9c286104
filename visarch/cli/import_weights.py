"""``visarch import FILE --from PACKAGE --out DIR``: weights of other packages in models of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from visarch.errors import UserError


@dataclass(frozen=True)
class Import:
    """Turn weights of another package into a model folder, checked by equal outputs.

    The file is read without running any code in it. Depth, stem, channels and classes go by names
    and shapes; what has no place in a network of visarch is named, and nothing is written.
    """

    file: Positional[Path]
    """The weights: .safetensors, .pt, .pth or .bin."""
    origin: Annotated[Literal["torchvision", "timm", "labml", "lucidrains"], arg(name="from")]
    """The package whose names they have: ResNets of torchvision or timm, labml.ai's DDPM U-Net,
    lucidrains' U-Net (of which it is said why it does not fit)."""
    out: Path
    """The model folder to write; it must be new, or empty."""
    image_size: tuple[int, ...] | None = None
    """Classifier: the size of its images; by default what a config.json of timm's beside the file
    says, or else 224, or 32 where the stem is small."""
    mean: tuple[float, ...] | None = None
    """Classifier: what was subtracted from images on the scale 0 … 1, channel by channel; by
    default as for --image-size, or else ImageNet's."""
    deviation: tuple[float, ...] | None = None
    """Classifier: what they were divided by."""
    class_names: Path | None = None
    """Classifier: a text file with the name of each class, one a line, in the network's order."""

    def main(self) -> None:
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UserError(f"--out {self.out} exists already: give a new folder.")
        from visarch.foreign.card import card
        from visarch.foreign.expectation import Expectation, read_class_names
        from visarch.foreign.importing import import_weights, save_imported
        from visarch.terminal import tell

        names = None if self.class_names is None else read_class_names(self.class_names)
        expectation = Expectation(self.image_size, self.mean, self.deviation, names)
        imported = import_weights(self.file, self.origin, expectation)
        for what, value, why in imported.reasons:
            print(f"{what}: {value} ({why})")
        print(
            f"check: outputs differ from those of {self.origin}'s network, written out over the "
            f"file's names, by at most {imported.difference:.1g}"
        )
        out = self.out if self.out.name else self.out.resolve()  # as of "."
        save_imported(imported, out, card(imported, self.file, self.origin, out.name))
        verb = "predict" if imported.facts else "describe"
        images = " IMAGE…" if imported.facts else ""
        record = {
            "model": str(self.out),
            "difference": imported.difference,
            "reasons": [list(map(str, reason)) for reason in imported.reasons],
        }
        tell(record, [f"Model folder: {self.out}", f"Next: visarch {verb} {self.out}{images}"])
