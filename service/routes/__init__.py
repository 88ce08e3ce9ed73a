"""HTTP routes, one file a subject; each checks, hands a job to the engine and forwards the bytes that come
back.
"""
