"""Binding, and the sentence when that fails."""

import socket
from pathlib import Path

import pytest

from common.supervisor.listeners import Listeners, bind
from common.supervisor.plan import CannotStart, Listener, Plan


def plan(*listeners: Listener) -> Plan:
    return Plan(1, listeners, 0, 0)


def test_taken_port_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart) as refusal:
            bind(Listener("http", "127.0.0.1", port, setting="EDGE_PORT"))
    assert str(refusal.value) == f"port {port} on 127.0.0.1 is already in use; set EDGE_PORT to another"


def test_foreign_address_is_named() -> None:
    with pytest.raises(CannotStart, match=r"192\.0\.2\.1 is no address of this machine"):
        bind(Listener("http", "192.0.2.1", 0))


def test_sockets_do_not_block_and_are_not_inherited_by_default() -> None:
    with bind(Listener("http", "127.0.0.1", 0)) as sock:
        assert not sock.getblocking()
        assert not sock.get_inheritable()


def test_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with bind(Listener("admin", path=str(path), mode=0o660)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert path.stat().st_mode & 0o777 == 0o660


def test_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with bind(Listener("admin", path=str(path))), pytest.raises(CannotStart, match="is already in use"):
        bind(Listener("admin", path=str(path)))
    assert path.exists()


def test_other_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(CannotStart, match="is not a socket"):
        bind(Listener("admin", path=str(path)))
    assert path.read_text() == "precious"


def test_path_too_long_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"longer than the \d+ bytes the system allows; set GATEHOUSE_VAR to"):
        bind(Listener("admin", path=str(tmp_path / ("x" * 120)), setting="GATEHOUSE_VAR"))


def test_reload_keeps_sockets_whose_address_stays(tmp_path: Path) -> None:
    http = Listener("http", "127.0.0.1", 0)
    admin = Listener("admin", path=str(tmp_path / "admin.sock"))
    listeners = Listeners([])
    before = listeners.open(plan(http, admin))
    after = listeners.open(plan(http._replace(setting="EDGE_PORT")))
    assert after["http"] is before["http"]
    listeners.keep(plan(http))
    assert before["http"].fileno() != -1
    assert before["admin"].fileno() == -1
    assert not Path(admin.path).exists()
    listeners.close()


def test_refused_plan_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listeners = Listeners([])
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotStart):
        listeners.open(plan(Listener("admin", path=str(path)), Listener("http", "127.0.0.1", taken.getsockname()[1])))
    assert not path.exists()


def test_path_taken_over_by_another_instance_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listeners = Listeners([])
    listeners.open(plan(Listener("admin", path=str(path))))
    listeners.close()
    with bind(Listener("admin", path=str(path))):
        listeners.unlink()
        assert path.exists()


def test_more_inherited_sockets_than_listeners_is_refused() -> None:
    http = Listener("http", "127.0.0.1", 0)
    with bind(http) as one, bind(http) as two, pytest.raises(CannotStart, match="passed 2 sockets for 1 listeners"):
        Listeners([("", one), ("", two)]).open(plan(http))


def test_sockets_of_a_unit_with_a_name_of_its_own_are_taken_in_order() -> None:
    """As docs/tls.md has systemd open ports 80 and 443 in one unit."""
    http = Listener("http", "127.0.0.1", 0)
    with bind(http) as first, bind(http) as second:
        opened = Listeners([("edge", first), ("edge", second)]).open(plan(http, Listener("https", "127.0.0.1", 0)))
        assert (opened["http"], opened["https"]) == (first, second)
