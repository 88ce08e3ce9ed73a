"""The service from a shell: ``python -m service.cli encode|decode|reconstruct|generate|evaluate|models|jobs``.

``arguments.py`` what can be asked · ``files.py`` which files are read and written · ``many.py`` many at once, and which
of them failed · ``commands.py``, ``job_commands.py`` what each command does.
"""
