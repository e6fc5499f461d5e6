"""The running stack: its controller, what it starts, and how other processes talk to it.

`Controller` (controller.py) takes the steps in order and keeps what it started running; `control.py` is its socket.
"""
