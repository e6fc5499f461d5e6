"""The HTTP/1.1 client leg: pooled keep-alive connections that cost little per request and never guess.

pool = Pool("http://127.0.0.1:8082")
response = await pool.request("GET", b"/api/v1/expenses", [(b"Accept", b"application/json")])
try:
    async for chunk in response: ...
finally:
    response.close()
"""

from common.http1.errors import (
    AnswerTooLarge,
    BadAnswer,
    ConnectFailed,
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    InvalidRequest,
    PoolExhausted,
    UpstreamClosed,
    UpstreamError,
)
from common.http1.pool import Pool
from common.http1.request import encode_lines
from common.http1.response import Response
from common.http1.timeouts import Timeouts

__all__ = [
    "AnswerTooLarge",
    "BadAnswer",
    "ConnectFailed",
    "ConnectTimeout",
    "FirstByteTimeout",
    "IdleTimeout",
    "InvalidRequest",
    "Pool",
    "PoolExhausted",
    "Response",
    "Timeouts",
    "UpstreamClosed",
    "UpstreamError",
    "encode_lines",
]
