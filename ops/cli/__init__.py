"""`gatehouse`: the command line. A command is imported when it is used, so that `status` does not wait for Alembic."""

import sys
from importlib import import_module

import click

from ops.stack.errors import StackError

# Command → its module in this package and one line about it; `commands` is what `--help` lists, in this order.
_COMMANDS = {
    "up": "Start the whole stack and show how to use it.",
    "down": "Stop the stack and wait until nothing of it runs.",
    "restart": "Replace the workers of all services, or of one, without losing a request.",
    "reload": "Bring changed settings and route tables into effect, everywhere or nowhere.",
    "route": "List what goes where; add or remove a service of yours.",
    "weight": "Show or change how much traffic each server of an upstream gets.",
    "status": "Show what runs, since when, and whether it is ready.",
    "top": "Show what the edge does, live: traffic, upstreams, limits, workers.",
    "logs": "Show the logs of all parts, in the order of time.",
    "doctor": "Check this machine and this stack, and say what to do.",
    "certs": "Show the edge's certificates, and renew them.",
    "resources": "Show how much room, memory and processor time the stack takes.",
    "access": "Show who has access and who tried to: the monthly review.",
    "ban": "Show, add and lift bans of addresses.",
    "probe": "Ask for health once as a client does, keep a record, and alert on a change.",
    "alert": "Try the alert hook, or tell it something.",
    "upgrade": "Go to another release without losing a request, or back.",
    "setup": "Set up production: a machine, a directory, a database server.",
    "migrate": "Bring the database to the newest schema.",
    "backup": "Back up everything into one archive and read it back.",
    "front": "Print the configuration of nginx, Caddy or Traefik in front of the edge.",
    "restore": "Put a backup in the place of what there is.",
    "start": "Migrate and run all services in one container.",
    "smoke": "Use everything a stack offers once, and say whether it works.",
    "dev": "Start the stack and reload services when their source changes.",
    "serve": "Run one service in the foreground.",
}
_HIDDEN = {"serve"}


class Commands(click.Group):
    """A group whose commands are in `ops.cli.<name>`, as `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name in _COMMANDS if name not in _HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"ops.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gatehouse")
def cli() -> None:
    """Gatehouse: an API platform from one command.

    State is kept in GATEHOUSE_VAR (default: var). `gatehouse COMMAND --help` says more about each.
    """


def main() -> None:
    """Exit status 0 done, 1 failed with one clear sentence on stderr, 2 wrong usage."""
    try:
        cli(standalone_mode=True, prog_name="gatehouse")
    except StackError as error:
        for line in str(error).splitlines():
            click.echo(f"{click.style('error:', fg='red', bold=True)} {line}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # `gatehouse logs | head`
        sys.stdout = None
        sys.exit(1)


if __name__ == "__main__":
    main()
