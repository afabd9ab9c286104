"""Errors that are addressed to the person at the keyboard."""


class UserError(ValueError):
    """A mistake in what was asked for: one paragraph naming the value, the place and the way out.

    The command line prints it without a traceback and exits with code 2; in Python it is an
    ordinary ``ValueError``.
    """


def lacks_memory(error: Exception) -> bool:
    """Whether memory ran out, or was asked for beyond all counting; PyTorch says so in words."""
    words = ("out of memory", "t allocate memory", "size calculation overflowed")  # can't, cannot
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # PyTorch's
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
