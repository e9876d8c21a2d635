"""What `inferwire doctor` looks at, without starting an engine.

finding.py        what was seen: fine, worth a thought, or something that would stop a start
versions.py       Python, the packages, and whether they go together
hardware.py       cores, their instructions, memory, GPUs
models.py         the files of each model
certificates.py   those of TLS, and what identities are known by
addresses.py      whether the server can listen where it is told to
report.py         all of it, for people and for programs
"""
