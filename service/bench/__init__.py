"""Inferwire beside what it is made of and what else there is, on one machine, in one run: `inferwire bench`."""
