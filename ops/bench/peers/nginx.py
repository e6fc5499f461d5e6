"""nginx: bare, and with the policy in Lua."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from common.limits.store import SCRIPT_SHA
from ops.bench.peers import Peer, Setting, rendered
from ops.bench.processes import Running, running
from ops.bench.programs import libraries, library, program

_MODULES = Path("/usr/lib/nginx/modules")
_POLICY = Path(__file__).with_name("nginx_policy.lua")


@contextmanager
def run(setting: Setting, *, tls: object = None, **values: object) -> Iterator[Running]:
    nginx = program("nginx", "nginx")
    plain = {"modules": (), "policy": None}
    user = "root" if os.geteuid() == 0 else ""  # root's workers would else be nobody, who may not write here
    values = {"setting": setting, "user": user, "tls": tls, **(values or plain)}
    configuration = rendered("nginx.conf.j2", setting.folder / "nginx.conf", **values)
    words: list[str | Path] = [nginx, "-p", setting.folder, "-c", configuration, "-e", setting.folder / "error.log"]
    with running(words, setting.port, setting.folder / "error.log", libraries()) as nginx_running:
        yield nginx_running


@contextmanager
def run_lua(setting: Setting, *, tls: object = None) -> Iterator[Running]:
    lua = library(
        f"{_MODULES}/ngx_http_lua_module.so", "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "libluajit2-5.1-2"
    )
    client = library("/usr/share/lua/5.1/nginx/redis.lua", "lua-nginx-redis")
    json = library("/usr/lib/x86_64-linux-gnu/lua/5.1/cjson.so", "lua-cjson")
    library("/usr/share/lua/5.1/resty/core.lua", "lua-resty-core", "lua-resty-lrucache")
    redis = urlsplit(setting.redis_url)
    with run(
        setting,
        tls=tls,
        modules=(lua.with_name("ndk_http_module.so"), lua),
        policy=_POLICY,
        lua_path=client.parents[1],
        lua_cpath=json.parent,
        redis=redis,
        redis_password=unquote(redis.password or ""),
        script=SCRIPT_SHA,
    ) as running_nginx:
        yield running_nginx


BARE = Peer(name="nginx", does="passes the request on, keep-alive to both sides; no policy, no log", run=run)
LUA = Peer(
    name="nginx + Lua",
    does="verifies the same JWT (Ed25519) once and remembers it in the worker, the edge's own limit script in Valkey "
    "over pooled connections, request id, access log (JSON, buffered)",
    run=run_lua,
    algorithm="EdDSA",
    is_exact=True,
    has_log=True,
)
