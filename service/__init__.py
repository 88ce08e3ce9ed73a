"""HTTP service: encode, decode, reconstruct and generate. Start it with ``python -m service``.

One process speaks HTTP and never imports torch; one worker process holds the models.
"""
