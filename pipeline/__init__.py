"""How work moves: queues, storage, catalog, pacer, HTTP, and the steps that join them to the stages.

Here belongs everything that touches the world. Inside: only ``settings`` reads the environment,
only ``bootstrap`` builds clients, only ``keys`` spells object keys.
"""
