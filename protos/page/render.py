"""The page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from protos.page.contract import Contract
from protos.page.prose import Prose

HERE = Path(__file__).parent


def render(contract: Contract) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["prose"] = Prose(contract).html
    return environment.get_template("page.html").render(contract=contract)
