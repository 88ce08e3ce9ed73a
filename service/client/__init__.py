"""A typed client of the service, for scripts (``Client``) and for event loops (``AsyncClient``). Imports no torch.

``blocking.py``, ``asynchronous.py`` carry calls · ``calls.py`` what is sent and how answers are read · ``core.py`` what
both share · ``retries.py`` when to try again · ``jobs.py``, ``async_jobs.py`` jobs and evaluations · ``latent.py``,
``answers.py``, ``pictures.py`` what goes in and comes out · ``errors.py`` what can go wrong.
"""

from service.client.answers import Health, Model, PictureFile, Pictures, Reconstruction
from service.client.asynchronous import AsyncClient
from service.client.blocking import Client
from service.client.calls import Generate, Options
from service.client.errors import FAILURES, ClientError
from service.client.jobs import Job
from service.client.latent import Latent
from service.client.progress import Step
from service.client.retries import Retry

__all__ = [
    "FAILURES",
    "AsyncClient",
    "Client",
    "ClientError",
    "Generate",
    "Health",
    "Job",
    "Latent",
    "Model",
    "Options",
    "PictureFile",
    "Pictures",
    "Reconstruction",
    "Retry",
    "Step",
]
