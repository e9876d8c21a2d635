"""`python -m deploy.check` checks; with `generate` it writes what is made from the settings and the chart."""

import sys
from collections.abc import Iterator

from deploy.check import image, links, monitoring, pods, proxy, queries, schemas, values
from deploy.check.manifests import Manifests, render_all

CHECKS = (schemas.problems, pods.problems, links.problems, queries.scaler_problems)


def problems_of(manifests: Manifests) -> Iterator[str]:
    for check in CHECKS:
        for problem in check(manifests):
            yield f"{manifests.name}: {problem}"


def check_all() -> int:
    """The exit code."""
    rendered = render_all()
    alone = (image.problems, values.problems, monitoring.problems, queries.problems)
    found = [problem for check in alone for problem in check()]
    found += proxy.problems(rendered[0])
    found += [problem for one in rendered for problem in problems_of(one)]
    for problem in found:
        print(problem)
    for manifests in rendered:
        print(f"{manifests.name}: {len(manifests.objects)} objects")
    without = sorted(set().union(*map(schemas.unchecked, rendered)))
    print("No schema at hand for:", ", ".join(without))
    if reason := monitoring.skipped():
        print("Alert rules not tested:", reason)
    print(f"{len(found)} problems" if found else "All is well.")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["generate"]:
        values.generate()
        monitoring.generate()
    else:
        sys.exit(check_all())
