import sys
from pathlib import Path

from protos.page.contract import read_contract
from protos.page.render import render

if __name__ == "__main__":
    target = Path(*sys.argv[1:] or ["dist/contract.html"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(read_contract()), encoding="utf-8")
    print(target)
