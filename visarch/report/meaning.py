"""What tasks, metrics and pictures are called in a report, and what they mean."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from visarch.report.spelling import number

TASKS = {"vae": "Gaussian VAE", "classifier": "Classifier", "diffusion": "Diffusion model"}

HEADLINE = {"vae": "bits/dim", "classifier": "accuracy", "diffusion": "bits/dim"}
"""The metric that a run is judged by."""


class Meaning(NamedTuple):
    """A metric's title and unit, what it says, and which way it is better."""

    title: str
    unit: str = ""
    """Shares are shown in %."""
    text: str = ""
    better: Literal["lower", "higher"] | None = None

    @property
    def scale(self) -> float:
        """What a value is multiplied with to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    def spelled(self, value: float) -> str:
        """A value as it is read: 6.052, or 98.40 %."""
        return f"{100 * value:.2f} %" if self.unit == "%" else number(value)


METRICS = {
    "accuracy": Meaning("Accuracy", "%", "images whose class is found", "higher"),
    "top-5": Meaning("Top 5", "%", "images whose class is among the five likeliest", "higher"),
    "balanced accuracy": Meaning(
        "Balanced accuracy", "%", "mean over the classes of the share that is found", "higher"
    ),
    "NLL": Meaning(
        "NLL", "nats/image", "−log p(class | image): cross-entropy without smoothing", "lower"
    ),
    "Brier": Meaning("Brier score", "of 2", "squared distance of p from the right answer", "lower"),
    "calibration error": Meaning(
        "Calibration error", "%", "mean distance between confidence and accuracy", "lower"
    ),
    "bits/dim": Meaning("bits/dim", "", "bits for each number of an image, by the ELBO", "lower"),
    "ELBO": Meaning("ELBO", "nats/image", "lower bound on log p(x)", "higher"),
    "reconstruction": Meaning("Reconstruction", "nats/image", "log p(x | z), z from the encoder"),
    "KL": Meaning("KL", "nats/image", "KL(q(z | x) ‖ p(z)): what z says about the image"),
    "rmse": Meaning("RMSE", "on [0, 1]", "root mean squared error of a reconstruction", "lower"),
    "sigma": Meaning("σ", "on [0, 1]", "standard deviation of the decoder"),
    "active units": Meaning("Active units", "", "latents that tell images apart"),
    "loss": Meaning("Loss", "", "what training minimizes", "lower"),
    "gradient_norm": Meaning("Gradient norm", "", "before clipping"),
    "learning_rate": Meaning("Learning rate", "", ""),
    "images_per_second": Meaning("Speed", "images/s", "training alone"),
}
"""In the order in which they are shown; others follow under their own names."""


def meaning(metric: str) -> Meaning:
    """What is known of a metric; its name alone where nothing is."""
    return METRICS.get(metric) or Meaning(metric.replace("_", " "))


def ordered(task: str, metrics: Iterable[str]) -> list[str]:
    """Metrics in the order in which they are shown: the one that a task is judged by comes first,
    what nothing is known of last."""
    metrics = list(metrics)
    order = [HEADLINE.get(task, ""), *METRICS, *metrics]
    return sorted(metrics, key=order.index)


class Picture(NamedTuple):
    """A picture's title and caption; a chart has black ink on white, not an image's own colors."""

    title: str
    caption: str
    chart: bool = False


PICTURES = {
    "vae": {
        "reconstructions": Picture(
            "Originals and reconstructions",
            "Held-out images, each above what the decoder makes of its posterior mean.",
        ),
        "interpolations": Picture(
            "Interpolations",
            "Each row goes straight from one held-out image's posterior mean to another's.",
        ),
        "samples": Picture(
            "Samples",
            "New images: decoder means of z drawn from the prior N(0, I). The more nats of KL, the "
            "better the reconstructions and the worse these: fewer latents sample better.",
        ),
        "traversal": Picture(
            "Latent traversal",
            "Each row moves one latent from −3 to 3 and keeps the others as they are for one "
            "held-out image; the latents with the most KL come first.",
        ),
        "latents": Picture(
            "KL of each latent",
            "How the information is spread over the latent dimensions; those near zero are unused.",
            chart=True,
        ),
    },
    "classifier": {
        "confusion": Picture(
            "Confusion matrix",
            "How many held-out images of each class (row) are read as which (column). What is off "
            "the diagonal is confused; shades go by the share of the class.",
            chart=True,
        ),
        "reliability": Picture(
            "Reliability",
            "How often images are right, against how confident the classifier is of them. Below "
            "the dashed line it is too sure of itself, above it not sure enough.",
            chart=True,
        ),
        "mistakes": Picture(
            "Most confident mistakes",
            "Held-out images that are read wrongly, the surest first: under each its own class, "
            "and what it is read as. Wrong labels in the data show up here.",
        ),
        "examples": Picture(
            "What the network sees",
            "Training images, each above what augmentation makes of it. Where you cannot tell the "
            "class any more, augmentation goes too far.",
        ),
    },
    "diffusion": {
        "samples": Picture(
            "Samples",
            "New images, denoised from noise that the seed fixes: the same place starts from the "
            "same noise at every step of the training. Of up to 16 classes, each has columns of "
            "its own.",
        ),
        "denoised": Picture(
            "Denoising",
            "Held-out images under more and more noise, each above what the network takes it for "
            "at a glance.",
        ),
    },
}
"""Those of each task, in the order in which they are shown; others follow under their own names."""


def picture(task: str, name: str) -> Picture:
    """What is known of a picture; its name alone where nothing is."""
    title = name.replace("-", " ").replace("_", " ").capitalize()
    return PICTURES.get(task, {}).get(name) or Picture(title, "")
