"""What is held leaves in its turn, whatever becomes of the rest."""

import asyncio

from common.http1.cork import Cork


class Held:
    def __init__(self, fault=None):
        self.fault = fault
        self.flushes = 0

    def flush(self):
        self.flushes += 1
        if self.fault is not None:
            raise self.fault


async def test_fault_of_one_write_does_not_cost_the_others_theirs():
    cork, held = Cork(asyncio.get_running_loop()), [Held(), Held(RuntimeError("it is closed")), Held()]
    for corked in held:
        cork.hold(corked)
    await asyncio.sleep(0)
    assert [corked.flushes for corked in held] == [1, 1, 1]
