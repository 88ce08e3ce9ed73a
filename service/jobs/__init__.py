"""Work that outlives its request: rows in SQLite, files beside them, and what runs them. Imports no torch.

``record.py`` what a job is · ``tables.py`` the schema · ``store.py`` rows · ``folders.py`` files · ``kinds/`` what jobs
do · ``runner.py`` claims and runs them · ``replay.py`` a stored request through the application · ``child.py`` another
process · ``views.py`` what callers see · ``house.py`` all of it together.
"""
