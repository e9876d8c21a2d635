"""`inferwire`: the group of commands. Each is imported when it is called, so that help answers at once."""

from importlib import import_module

import rich_click as click

# The one line that `inferwire --help` says of each command. The command itself is service/cli/<name>.py:<name>.
COMMANDS = {
    "demo": "Serve the two bundled models.",
    "serve": "Serve models.",
    "join": "Run this machine's part of a model that another machine serves.",
    "doctor": "Check whether a server would start.",
    "chat": "Talk to a language model.",
    "complete": "Let a language model continue a text.",
    "embed": "Turn texts into vectors.",
    "rerank": "Order texts by how well they fit to a query.",
    "tokenize": "Print the tokens that a model reads.",
    "models": "List the models of a server, register and unregister adapters.",
    "top": "Watch the load of a server.",
    "bench": "Compare Inferwire with the engine called directly.",
    "completion": "Print what completes commands in a shell.",
}


class LazyGroup(click.RichGroup):
    """Lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What the group's own help shows of a command."""
        return click.RichCommand(name=cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, or completed in a shell."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else load_command(str(command.name)), rest


def load_command(name: str) -> click.Command:
    command = getattr(import_module(f"service.cli.{name}"), name)
    assert isinstance(command, click.Command)
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inferwire", prog_name="inferwire")
def main() -> None:
    """Language models for backend services, over gRPC.

    Start a server with `inferwire demo` or `inferwire serve`, and talk to it with the other commands.
    """
