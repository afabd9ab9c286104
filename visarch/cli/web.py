"""``visarch web``: trained runs on a page in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from tyro.conf import Positional

from visarch.errors import UserError


@dataclass(frozen=True)
class Web:
    """Show trained runs on a page in the browser.

    A tab for each task: classify an image and see why; encode it and move through the latent space;
    generate pictures and watch them come out of noise. Another looks inside: the drawn network, the
    feature maps of each step, and the matrix that a convolution is. The page is on this machine
    alone, and nothing leaves it.
    """

    runs: Positional[tuple[str, ...]]
    """Run folders; or model folders, or hub ids."""
    host: str = "127.0.0.1"
    """The address to listen on; by default this machine alone reaches it."""
    port: int = 7860
    """The port; 0 for any that is free."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("Say which runs to show, as in `visarch web runs/*`.")
        if not 0 <= self.port <= 65535:
            raise UserError(f"--port is {self.port}; it must lie between 0 and 65535.")

    def main(self) -> None:
        if find_spec("gradio") is None:
            raise UserError("The page needs Gradio: `pip install 'visarch[web]'`.")
        from visarch.terminal import note, tell
        from visarch.web.guard import is_loopback
        from visarch.web.server import listen, serve

        def ready(address: str) -> None:
            tell({"address": address}, [f"The page is at {address} (Ctrl-C ends it)"])
            if not is_loopback(self.host):
                note(
                    f"--host {self.host} is not this machine alone: whoever reaches it there can "
                    "use the models, without a password."
                )

        with listen(self.host, self.port) as bound:
            serve(self.runs, self.device, bound, self.host, ready)
        print("The page has ended.")
