"""`inferwire completion`: what a shell runs to complete commands, options and files."""

import rich_click as click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "inferwire", "_INFERWIRE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what completes commands, options and files in a SHELL.

    \b
    bash, in ~/.bashrc:  eval "$(inferwire completion bash)"
    zsh, in ~/.zshrc:    eval "$(inferwire completion zsh)"
    fish, in its config: inferwire completion fish | source
    """
    from service.cli.main import main  # it imports this module

    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(main, {}, PROGRAM, VARIABLE).source())
