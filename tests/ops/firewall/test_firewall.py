"""The firewall on a real kernel: a host and somebody outside, each in a network namespace, and real connections."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.ops.stacks import until
from tests.tools import tool

SCRIPTS = ROOT / "ops" / "firewall"
NFTABLES, UFW = SCRIPTS / "nftables.sh", SCRIPTS / "ufw.sh"

OPEN, CLOSED = (22, 80, 443), (8080, 8081, 8082, 5432, 6379, 9999)
V4, V6 = "10.99.0.1", "fd99::1"

# Listens on every port given, TCP on both families and UDP on 443, and says so.
SERVER = """
import socket, sys
held = [socket.create_server(("::", int(p)), family=socket.AF_INET6, dualstack_ipv6=True) for p in sys.argv[1:]]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 443))
print("ready", flush=True)
while True:
    data, peer = udp.recvfrom(100)
    udp.sendto(data, peer)
"""
# Prints which "address port" can be connected to, all tried at once.
CLIENT = """
import concurrent.futures, json, socket, sys
def can(place):
    address, port = place.split()
    try:
        socket.create_connection((address, int(port)), timeout=1.5).close()
        return True
    except OSError:
        return False
with concurrent.futures.ThreadPoolExecutor(40) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(can, sys.argv[1:])))))
"""
UDP = """
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(3)
udp.sendto(b"quic", ("10.99.0.1", 443))
print(udp.recv(10).decode())
"""
# Prints what an ICMP echo of each address brought: "reply" or nothing within the time.
PING = """
import socket, struct
for address, family, protocol, kind in (("10.99.0.1", socket.AF_INET, 1, 8), ("fd99::1", socket.AF_INET6, 58, 128)):
    raw = socket.socket(family, socket.SOCK_RAW, protocol)
    raw.settimeout(3)
    words = [kind << 8, 0, 77, 1]
    total = sum(words)
    words[1] = 0xFFFF - (total + (total >> 16)) & 0xFFFF
    raw.sendto(struct.pack("!4H", *words), (address, 0))
    while True:
        packet = raw.recv(200)
        if packet[20 if family == socket.AF_INET else 0] == (0 if family == socket.AF_INET else 129):
            break
    print("reply")
"""


class Network:
    """`host` runs servers on every port of ours and one of nobody's; `outside` is another machine."""

    def __init__(self) -> None:
        self.ip = tool("ip")
        self.host, self.outside = (f"gh{os.getpid()}{side}" for side in "ho")

    def run(self, space: str, *words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        given = {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}
        return subprocess.run(
            [self.ip, "netns", "exec", space, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**given, **environ},
        )

    def done(self, space: str, *words: str | Path, **environ: str) -> str:
        done = self.run(space, *words, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def reached(self, space: str, *addresses: str) -> dict[int, bool]:
        """Port → whether it is open on all the addresses. On some only would be a fault in itself."""
        places = [f"{address} {port}" for address in addresses for port in (*OPEN, *CLOSED)]
        found = json.loads(self.done(space, sys.executable, "-c", CLIENT, *places))
        by_port = {port: {found[f"{address} {port}"] for address in addresses} for port in (*OPEN, *CLOSED)}
        assert all(len(answers) == 1 for answers in by_port.values()), found
        return {port: answers == {True} for port, answers in by_port.items()}

    def rules(self) -> str:
        return self.done(self.host, tool("nft"), "list", "ruleset")


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()

    def ip(*words: str) -> None:
        done = subprocess.run([made.ip, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no network namespaces here: {done.stderr.strip()}")

    if os.geteuid() != 0:
        pytest.skip("network namespaces with addresses are for root")
    try:
        for space in (made.host, made.outside):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("link", "add", "eth0", "netns", made.host, "type", "veth", "peer", "name", "eth0", "netns", made.outside)
        for space, number in ((made.host, 1), (made.outside, 2)):
            ip("-n", space, "address", "add", f"10.99.0.{number}/24", "dev", "eth0")
            ip("-n", space, "address", "add", f"fd99::{number}/64", "dev", "eth0", "nodad")
            ip("-n", space, "link", "set", "eth0", "up")
        with serving(made):
            yield made
    finally:
        for space in (made.host, made.outside):
            subprocess.run([made.ip, "netns", "delete", space], capture_output=True, check=False)


class serving:  # noqa: N801 - used as a statement
    """The servers in the host, until the end of the block."""

    def __init__(self, network: Network) -> None:
        ports = map(str, (*OPEN, *CLOSED))
        words = [network.ip, "netns", "exec", network.host, sys.executable, "-c", SERVER, *ports]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout
        self.process.stdout.close()


def expect_guarded(network: Network) -> None:
    reached = network.reached(network.outside, V4, V6)
    assert {port for port, is_open in reached.items() if is_open} == set(OPEN)
    assert all(network.reached(network.host, "127.0.0.1", "::1").values()), "loopback must stay free"
    assert network.done(network.outside, sys.executable, "-c", UDP) == "quic\n"
    assert network.done(network.outside, sys.executable, "-c", PING) == "reply\nreply\n"


def test_without_a_firewall_everything_is_reached(network: Network) -> None:
    assert all(network.reached(network.outside, V4, V6).values())


def test_nftables_lets_in_what_it_should_and_nothing_else(network: Network) -> None:
    network.done(network.host, NFTABLES, "apply")
    expect_guarded(network)


def test_nftables_twice_is_nftables_once_and_leaves_other_tables_alone(network: Network) -> None:
    network.done(network.host, tool("nft"), "add table ip docker_like { chain c { tcp dport 1 accept; }; }")
    network.done(network.host, NFTABLES, "apply")
    once = network.rules()
    network.done(network.host, NFTABLES, "apply")
    assert network.rules() == once
    assert "docker_like" in once
    assert "docker_like" in network.rules()
    network.done(network.host, NFTABLES, "remove")
    assert "gatehouse" not in network.rules()
    assert "docker_like" in network.rules()


def test_an_open_session_survives_the_firewall(network: Network) -> None:
    client = (
        "import socket, sys\n"
        "held = socket.create_connection(('10.99.0.1', 9999), timeout=5)\n"
        "print('connected', flush=True)\n"
        "sys.stdin.readline()\n"
        "held.sendall(b'typed'); held.shutdown(socket.SHUT_WR)\n"
        "print('sent', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    words = [network.ip, "netns", "exec", network.outside, sys.executable, "-c", client]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "connected\n"
        network.done(network.host, NFTABLES, "apply", SSH_CONNECTION="10.99.0.2 50000 10.99.0.1 9999")
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "sent\n"

        def has_ended() -> bool:  # the server does not read: its kernel takes the end of the stream
            return "CLOSE-WAIT" in network.done(network.host, tool("ss"), "-Htn", "sport", "=", ":9999")

        assert until(has_ended, 5)
        process.communicate("go\n", timeout=10)
    assert network.reached(network.outside, V4, V6)[9999]


def test_the_session_and_sshd_s_own_ports_are_never_closed(network: Network, tmp_path: Path) -> None:
    (tmp_path / "sshd").symlink_to(sys.executable)
    listen = "import socket; held = socket.create_server(('', 2200)); print('ready', flush=True); input()"
    words = [network.ip, "netns", "exec", network.host, str(tmp_path / "sshd"), "-c", listen]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline() == "ready\n"
        session = "192.0.2.1 50000 192.0.2.2 2022"
        said = network.done(network.host, NFTABLES, "print", SSH_PORT="222", SSH_CONNECTION=session)
        daemon.communicate("end\n", timeout=10)
    assert "tcp dport { 222, 2022, 2200 } accept" in said


def test_more_ports_can_be_opened(network: Network) -> None:
    network.done(network.host, NFTABLES, "apply", ALLOW_TCP="9999")
    assert network.reached(network.outside, V4, V6)[9999]


def test_a_bad_port_changes_nothing(network: Network) -> None:
    before = network.rules()
    for port in ("http", "80;flush ruleset", "99999999"):
        done = network.run(network.host, NFTABLES, "apply", ALLOW_TCP=port)
        assert done.returncode == 2
        assert "no port" in done.stderr
    refused = network.run(network.host, NFTABLES, "apply", ALLOW_TCP="70000")
    assert (refused.returncode, "nothing was changed" in refused.stderr) == (1, True)
    assert network.rules() == before


def test_rules_for_every_start_are_written_once_and_load(network: Network, tmp_path: Path) -> None:
    main, rules = tmp_path / "nftables.conf", tmp_path / "nftables.d" / "gatehouse.nft"
    files = {"MAIN_FILE": str(main), "RULES_FILE": str(rules)}
    for _ in range(2):
        network.done(network.host, NFTABLES, "persist", **files)
    assert main.read_text() == f'#!/usr/sbin/nft -f\n\ninclude "{rules}"\n'
    before = network.rules()
    network.done(network.host, tool("nft"), "flush", "ruleset")
    network.done(network.host, tool("nft"), "-f", main)  # what nftables.service does
    assert network.rules() == before
    network.done(network.host, NFTABLES, "remove", **files)
    assert main.read_text() == "#!/usr/sbin/nft -f\n\n"
    assert not rules.exists()
    assert network.rules() == ""


def test_ufw_lets_in_the_same_and_a_second_time_changes_nothing(network: Network, tmp_path: Path) -> None:
    """On a copy of its configuration, mounted over the machine's for as long as the commands run."""
    tool("ufw")
    shutil.copytree("/etc/ufw", tmp_path / "ufw")
    shutil.copy("/etc/default/ufw", tmp_path / "default")
    mount = f"mount --bind {tmp_path}/ufw /etc/ufw && mount --bind {tmp_path}/default /etc/default/ufw"
    path = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    network.done(network.host, "sh", "-c", f"{mount} && {UFW}", **path)
    once = network.rules()
    rules = (tmp_path / "ufw" / "user.rules").read_text()
    expect_guarded(network)
    said = network.done(network.host, "sh", "-c", f"{mount} && {UFW}", **path)
    assert "Skipping adding existing rule" in said
    assert (tmp_path / "ufw" / "user.rules").read_text() == rules
    assert counted(network.rules()) == counted(once)


def counted(rules: str) -> list[str]:
    """Without the counters, which move."""
    return [line.split("counter")[0] for line in rules.splitlines()]


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    done = subprocess.run([tool("shellcheck"), "-x", str(script)], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_wrong_usage_says_the_right_one() -> None:
    for script in (NFTABLES, UFW):
        done = subprocess.run([str(script), "nonsense"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.startswith("error: usage:")) == (2, True)
    dry = subprocess.run([str(UFW), "--dry-run"], capture_output=True, text=True, check=False)
    assert "ufw allow 443/udp\nufw deny 8080:8082/tcp\n" in dry.stdout
