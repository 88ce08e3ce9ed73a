"""OpenAI's images interface over our generators: what its requests hold, and how answers and errors are written.

It knows neither HTTP nor the engine; ``routes/openai.py`` joins the two. Source of names and shapes: the types of the
``openai`` package (images), which the tests run unmodified.
"""
