"""The command line: ``visarch VERB --flags``.

``VERBS`` is the one list of verbs. Each entry names a frozen dataclass in the verb's own module:
its fields are the flags, its docstring the help, and its ``main`` does the work and returns the
exit code (``None`` is success)::

    @dataclass(frozen=True)
    class Sample:
        \"\"\"Draw pictures from a trained run.\"\"\"

        run: Positional[Path]
        \"\"\"The run folder.\"\"\"
        count: Annotated[int, arg(aliases=["-n"])] = 64
        \"\"\"How many pictures to draw.\"\"\"

        def main(self) -> int | None: ...

What it found, ``main`` tells once, with ``visarch.terminal.tell``: ``--json`` and ``--quiet`` are
flags of every verb, and no verb's own. A verb's module imports torch, and whatever else is slow,
inside ``main``: ``--help`` and a misspelt flag are answered before any of it is loaded.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, TextIO

from visarch.cli.interrupt import EXIT_CODE, interruptible
from visarch.errors import UserError, lacks_memory


class Verb(NamedTuple):
    """One line of ``visarch --help`` and where it leads: ``module:class``."""

    usage: str
    summary: str
    target: str


VERBS = {
    "train vae": Verb(
        "--data DATA",
        "learn a Gaussian VAE from images; what is not given is inferred",
        "visarch.cli.train:TrainVAE",
    ),
    "train classifier": Verb(
        "--data DATA",
        "learn to tell classes of images apart; what is not given is inferred",
        "visarch.cli.train:TrainClassifier",
    ),
    "train diffusion": Verb(
        "--data DATA",
        "learn to make images out of noise; what is not given is inferred",
        "visarch.cli.train:TrainDiffusion",
    ),
    "train --resume": Verb(
        "RUN",
        "go on with an interrupted run, exactly where it stopped",
        "visarch.cli.train:Resume",
    ),
    "evaluate": Verb(
        "RUN",
        "measure a trained run on held-out data",
        "visarch.cli.evaluate:Evaluate",
    ),
    "report": Verb(
        "RUN [RUN…]",
        "write the report of a run, or put several runs side by side",
        "visarch.cli.report:Report",
    ),
    "predict": Verb(
        "RUN IMAGE…",
        "say which classes images are of, with probabilities",
        "visarch.cli.predict:Predict",
    ),
    "sample": Verb(
        "RUN -n 64",
        "draw new pictures",
        "visarch.cli.sample:Sample",
    ),
    "reconstruct": Verb(
        "RUN DATA",
        "show pictures beside what the model makes of them",
        "visarch.cli.reconstruct:Reconstruct",
    ),
    "interpolate": Verb(
        "RUN A B",
        "walk from one picture to another through the latent space",
        "visarch.cli.interpolate:Interpolate",
    ),
    "embed": Verb(
        "RUN DATA",
        "write the features of every picture to a file",
        "visarch.cli.embed:Embed",
    ),
    "export": Verb(
        "RUN --format FORMAT",
        "write the model to files that run without visarch, and check them",
        "visarch.cli.export:Export",
    ),
    "check": Verb(
        "DATA",
        "read every image fully and report what is wrong",
        "visarch.cli.check:Check",
    ),
    "describe": Verb(
        "MODEL|RUN",
        "list a network's steps: shapes, parameters, MACs, receptive field",
        "visarch.cli.describe:Describe",
    ),
    "import": Verb(
        "FILE --from PACKAGE",
        "turn weights of torchvision, timm or labml.ai into a model folder",
        "visarch.cli.import_weights:Import",
    ),
    "push": Verb(
        "RUN OWNER/NAME",
        "put a finished run's model on the Hugging Face hub, with its card",
        "visarch.cli.push:Push",
    ),
    "verify": Verb(
        "",
        "prove every box against the literal reference and the lemmas",
        "visarch.cli.verify:Verify",
    ),
    "web": Verb(
        "RUN [RUN…]",
        "show runs on a page in the browser: classify, encode, generate",
        "visarch.cli.web:Web",
    ),
    "completion": Verb(
        "bash|zsh|fish",
        "print what makes a shell complete verbs, flags and values",
        "visarch.cli.completion:Completion",
    ),
    "bench": Verb(
        "NAME",
        "measure how fast this is beside its peers, on this machine",
        "visarch.cli.bench:Bench",
    ),
}

_EXIT_USAGE = 2
_EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    A ``ValueError`` from a line of visarch's own is addressed to the person at the keyboard, and
    so is what the operating system refuses: one paragraph, and code 2 unless the error has its
    own; and what does not fit into memory. Any other exception is a defect of ours and keeps its
    traceback. ``--debug``, anywhere, shows it for the former as well.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a σ must not end a run on a Latin-1 terminal
            stream.reconfigure(errors="replace")
    try:
        try:
            with interruptible():
                return _run([argument for argument in arguments if argument != "--debug"])
        finally:
            sys.stdout.flush()
    except SystemExit as stop:  # tyro has printed help, or a complaint
        if isinstance(stop.__context__, BrokenPipeError):  # rich makes an exit of it
            return _EXIT_BROKEN_PIPE
        if not isinstance(stop.code, int):
            raise
        return stop.code
    except KeyboardInterrupt:
        _complain("Interrupted.")
        return EXIT_CODE
    except BrokenPipeError:  # the reader (`| head`) has left
        _give_up(sys.stdout)
        return _EXIT_BROKEN_PIPE
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        too_large = lacks_memory(error)
        if not too_large and not is_addressed_to_the_user(error):
            raise
        if debug:
            traceback.print_exc()
        else:
            _complain(f"visarch: {_TOO_LARGE if too_large else _said(error)}")
        return getattr(error, "exit_code", _EXIT_USAGE)


def _open_closed_streams() -> None:
    """A stream that is closed (`>&-`) leads nowhere, and not into the next file that is opened."""
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:  # taken by what is none of ours
                os.dup2(nowhere, descriptor)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


def _complain(text: str) -> None:
    """On stderr, if that can be written to."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Let a stream lead nowhere: Python would complain once more on flushing it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _said(error: Exception) -> str:
    """An error's words, and the likely place where the system names none: files are named."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return (
            f"stdout could not be written ({error}): free some space there, or send it elsewhere."
        )
    return str(error)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from visarch import __version__

        print(f"visarch {__version__}")
        return 0
    name, rest = _choose(arguments)
    if name is None:
        print(_help_on_things(arguments[0]))
        return 0
    module, _, class_name = VERBS[name].target.partition(":")
    from visarch.cli.flags import parse
    from visarch.performance.waiting import wait_briefly
    from visarch.terminal import speaking

    if name != "bench":  # where peers are to be as their users find them
        wait_briefly()
    os.environ["MPLBACKEND"] = "agg"  # pictures go into files, whatever shows them in a notebook
    _require_current_folder()
    prog = f"visarch {name.partition(' --')[0]}"
    verb, manner = parse(getattr(import_module(module), class_name), rest, prog)
    with speaking(manner):
        return verb.main() or 0


def _require_current_folder() -> None:
    """Whatever is not absolute is found from it, and some libraries do not load without."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("The current folder has been removed: go to one that exists.") from error


def _choose(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The name in ``VERBS`` that was meant, and the arguments left for it.

    A name's second word is either a thing that must come next (``train vae``) or a flag that may
    stand anywhere (``train --resume``). None is returned where help on the things is asked for.
    """
    verb, *rest = arguments
    names = [name for name in VERBS if name.split()[0] == verb]
    if not names:
        raise UserError(_no_such_verb(verb))
    for name in names:
        second = name.partition(" ")[2]
        if not second:
            return name, rest
        if second.startswith("--"):
            if any(argument.partition("=")[0] == second for argument in rest):
                return name, rest
        elif rest[:1] == [second]:
            return name, rest[1:]
    if rest and rest[0] in ("-h", "--help"):
        return None, rest
    things = ", ".join(name.split()[1] for name in names if "--" not in name)
    missing = not rest or rest[0].startswith("-")
    problem = "needs to know what" if missing else f"knows no {rest[0]!r}"
    example = f"visarch {names[0]} {VERBS[names[0]].usage}"
    raise UserError(f"`visarch {verb}` {problem}; there is: {things}, as in `{example}`.")


def _no_such_verb(verb: str) -> str:
    from visarch.cli.flags import nearest

    if verb.startswith("-"):
        candidates = ["--help", "--version", "--debug"]
    else:
        candidates = list(dict.fromkeys(name.split()[0] for name in VERBS))
    return (
        f"there is no {verb!r} here. Nearest: {', '.join(nearest(verb, candidates))}. "
        "`visarch --help` lists everything."
    )


def _help() -> str:
    return "\n".join(
        [
            "visarch: train, inspect and use the textbook vision architectures on your own images",
            "",
            "usage: visarch VERB [flags]",
            "",
            *_lines(list(VERBS)),
            "",
            "`visarch VERB --help` shows the flags of a verb.",
            "With any verb, --json prints JSON for programs, --quiet only errors, and --debug",
            "the traceback of an error. `visarch --version` names the version.",
        ]
    )


def _help_on_things(verb: str) -> str:
    names = [name for name in VERBS if name.split()[0] == verb]
    return "\n".join([f"usage: visarch {verb} ...", "", *_lines(names)])


def _lines(names: list[str]) -> list[str]:
    commands = [f"{name} {VERBS[name].usage}" for name in names]
    width = max(len(command) for command in commands)
    return [
        f"  {command:{width}}  {VERBS[name].summary}"
        for name, command in zip(names, commands, strict=True)
    ]


_TOO_LARGE = (
    "This needs more memory than can be had. Ask for less: a smaller --batch-size or --image-size, "
    "fewer pictures, or a network of fewer or narrower layers."
)


def is_addressed_to_the_user(error: Exception) -> bool:
    """Whether visarch raised it on purpose, or the operating system refused something."""
    if isinstance(error, OSError):
        return error.errno is not None
    if not isinstance(error, ValueError):
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    return str(frames[-1][0].f_globals.get("__name__")).split(".")[0] == "visarch"
