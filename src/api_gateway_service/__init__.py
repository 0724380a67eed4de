"""The gateway: who may ask for a pipeline, how often, and how a browser sees what becomes of it."""
