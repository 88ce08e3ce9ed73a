"""Hostile bytes for everything that reads bytes from outside: ``python -m eval.fuzz count=100000 seed=0``.

corpus.py     valid files of every format, small          lies.py     headers that promise what is not there, bombs
mutations.py  harm done to bytes without knowing them     samples.py  input number i of a seed, a pure function
targets.py    what reads them: the service's parsers, in this process
running.py    a child process that reads, a parent that sees it crash, hang or grow
server.py     a share of the same inputs against a running server
"""
