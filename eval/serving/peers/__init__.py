"""Other servers over the same model, each as its own documentation would have it, one module and one process each.

All of them answer ``POST /`` (LitServe ``/predict``) with what ``eval.serving.work`` makes of the body. Nothing here
is part of the service.
"""
