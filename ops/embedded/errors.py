"""What can go wrong when we run the servers ourselves."""


class ServerError(Exception):
    """A server could not be started; the text is one sentence for the person at the terminal."""


class PortTakenError(ServerError):
    """Somebody else took the port between our choosing it and the server binding it."""
