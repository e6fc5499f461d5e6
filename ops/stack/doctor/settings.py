"""The services' settings, their ports, and whether they serve."""

import json
import os
from secrets import token_urlsafe
from typing import Any

from common.settings import variable
from common.supervisor.listeners import bind
from common.supervisor.plan import CannotStart, Plan, parse
from ops import secrets
from ops.probe.target import PATH, edge_url
from ops.stack import prepare
from ops.stack.configuration import Configuration
from ops.stack.doctor import Finding
from ops.stack.place import SERVICES
from ops.stack.probe import fetch, unhealthy
from ops.visit import visit


def check(configuration: Configuration) -> tuple[dict[str, Plan], Finding]:
    """Each service's plan where its settings allow one. Sets this process's environment as `up` would."""
    os.environ.update({**configuration.environ, **configuration.placeholders()})
    if not configuration.is_production:
        for name in secrets.NAMES:
            if variable(name, configuration.environ) is None:  # the start makes it
                os.environ[name] = token_urlsafe(48)
    answer = prepare.check()
    faults = {**answer["faults"], **configuration.faults}
    plans = {name: parse(json.dumps(plan).encode()) for name, plan in answer["plans"].items()}
    if faults:
        listed = "; ".join(f"{name}: {text}" if text else name for name, text in faults.items())
        mends = f"correct them in the environment or in {_file(configuration)}; what names a file and line, there"
        return plans, Finding("Settings", "fail", listed, mends)
    kind = "production" if configuration.is_production else "development"
    return plans, Finding("Settings", "ok", f"accepted by all services ({kind})")


def _file(configuration: Configuration) -> str:
    return configuration.environ.get("GATEHOUSE_ENV_FILE") or ".env"


def ports(plans: dict[str, Plan], status: dict[str, Any] | None) -> Finding:
    """Free, or held by this very stack."""
    ours = {place["address"] for service in (status or {}).get("services", []) for place in service["listening"]}
    wanted = [listener for plan in plans.values() for listener in plan.listen if not listener.path]
    taken, served = [], bool(ours)
    for listener in wanted:
        if listener.address in ours:
            continue
        try:
            bind(listener).close()
        except CannotStart as error:
            if _is_gatehouse(listener.address):
                served = True
            else:
                taken.append(str(error))
    if taken:
        return Finding("Ports", "fail", "; ".join(taken), "end what holds them, or move ours with those settings")
    if not wanted:
        return Finding("Ports", "skip", "not known before the settings are right")
    addresses = ", ".join(listener.address for listener in wanted)
    return Finding("Ports", "ok", f"{addresses} {'served by this stack' if served else 'free'}")


def _is_gatehouse(address: str) -> bool:
    """Whether a service of ours answers there: systemd or containers may keep it running, where no controller does."""
    reached = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - read, not bound
    return fetch(f"http://{reached}/health")[1].get("service") in SERVICES


def services(status: dict[str, Any] | None) -> Finding:
    if status is None:
        return _without_controller()
    if not status["ready"]:
        culprits = ", ".join(unhealthy(status)) or status["state"]
        return Finding("Services", "fail", f"not ready: {culprits}", "`gatehouse logs` shows what they say")
    if status["readiness"] != "ready":
        culprits = ", ".join(unhealthy(status))
        return Finding("Services", "warn", f"degraded: {culprits}", "`gatehouse logs` shows what they say")
    return Finding("Services", "ok", f"ready at {status['url']}")


def _without_controller() -> Finding:
    """What systemd keeps running answers all the same."""
    found = visit(edge_url() + PATH)
    if found.status == 0:
        return Finding("Services", "skip", "nothing is running", "`gatehouse up` starts the stack")
    if found.status != 200:
        culprits = ", ".join(unhealthy(found.fields)) or f"status {found.status}"
        return Finding("Services", "fail", f"not ready: {culprits}", "`gatehouse logs` shows what they say")
    return Finding("Services", "ok", f"ready at {edge_url()}")
