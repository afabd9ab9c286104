"""What tasks, metrics and pictures are called in a report, and what they mean."""

from typing import NamedTuple

TASKS = {"vae": "Gaussian VAE", "classifier": "Classifier", "diffusion": "Diffusion model"}

HEADLINE = {"vae": "bits/dim", "classifier": "accuracy", "diffusion": "loss"}
"""The metric that a run is judged by."""

LOWER_IS_BETTER = {"bits/dim", "loss", "rmse"}
HIGHER_IS_BETTER = {"ELBO", "accuracy"}


class Meaning(NamedTuple):
    """A metric's title and unit, and what it says."""

    title: str
    unit: str = ""
    text: str = ""


METRICS = {
    "bits/dim": Meaning("bits/dim", "", "bits for each number of an image, by the ELBO"),
    "ELBO": Meaning("ELBO", "nats/image", "bound on log p(x): reconstruction − KL"),
    "reconstruction": Meaning("Reconstruction", "nats/image", "log p(x | z), z from the encoder"),
    "KL": Meaning("KL", "nats/image", "KL(q(z | x) ‖ p(z)): what z says about the image"),
    "rmse": Meaning("RMSE", "on [0, 1]", "root mean squared error of a reconstruction"),
    "sigma": Meaning("σ", "on [0, 1]", "standard deviation of the decoder"),
    "active units": Meaning("Active units", "", "latents that tell images apart"),
    "loss": Meaning("Loss", "", "what training minimizes"),
    "accuracy": Meaning("Accuracy", "", "share of images whose class is found"),
    "gradient_norm": Meaning("Gradient norm", "", "before clipping"),
    "learning_rate": Meaning("Learning rate", "", ""),
    "images_per_second": Meaning("Speed", "images/s", "training alone"),
}
"""In the order in which they are shown; others follow under their own names."""


def meaning(metric: str) -> Meaning:
    """What is known of a metric; its name alone where nothing is."""
    return METRICS.get(metric) or Meaning(metric.replace("_", " "))


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
    }
}
"""Those of each task, in the order in which they are shown; others follow under their own names."""


def picture(task: str, name: str) -> Picture:
    """What is known of a picture; its name alone where nothing is."""
    title = name.replace("-", " ").replace("_", " ").capitalize()
    return PICTURES.get(task, {}).get(name) or Picture(title, "")
