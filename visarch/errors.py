"""The one kind of error that is addressed to the person at the keyboard."""


class UserError(ValueError):
    """A mistake in what was asked for: one paragraph naming the value, the place and the way out.

    The command line prints it without a traceback and exits with code 2; in Python it is an
    ordinary ``ValueError``.
    """
