"""`python -m protos.page [FILE]`: the contract as one page for a browser, dist/contract.html unless told.

It isn't committed: it repeats the comments of the .proto files, and would double each change of them.

contract.py   what the contract declares, from what buf has compiled, comments included
prose.py      comments as HTML: paragraphs, code, links to what they name
page.html     the page, with page.css inside: it loads nothing
"""
