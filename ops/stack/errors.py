"""What ends a command."""


class StackError(Exception):
    """The text is for the person at the terminal: one clear sentence, or one a line when several things are wrong."""
