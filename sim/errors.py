"""The error a person can do something about: the command line prints it without a traceback."""


class InputError(Exception):
    """What is wrong with the input, where, and what would help."""
